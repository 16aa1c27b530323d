/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Doubly linked lists inside the listed objects. The head is a plain pointer, NULL when empty. */

#define LIST_FIELDS(type)                                                                                    \
    struct {                                                                                                 \
        type *next, *prev;                                                                                   \
    } list

#define LIST_PREPEND(head, item)                                                                             \
    do {                                                                                                     \
        (item)->list.prev = NULL;                                                                            \
        (item)->list.next = (head);                                                                          \
        if (head)                                                                                            \
            (head)->list.prev = (item);                                                                      \
        (head) = (item);                                                                                     \
    } while (0)

/* item is looked at once: it may be the head itself. */
#define LIST_REMOVE(head, item)                                                                              \
    do {                                                                                                     \
        __typeof__(item) item_ = (item);                                                                     \
        if (item_->list.next)                                                                                \
            item_->list.next->list.prev = item_->list.prev;                                                  \
        if (item_->list.prev)                                                                                \
            item_->list.prev->list.next = item_->list.next;                                                  \
        else                                                                                                 \
            (head) = item_->list.next;                                                                       \
        item_->list.next = item_->list.prev = NULL;                                                          \
    } while (0)

#define LIST_FOREACH(i, head) for ((i) = (head); (i); (i) = (i)->list.next)
/* The current item may be removed or freed in the body. */
#define LIST_FOREACH_SAFE(i, n, head) for ((i) = (head); (i) && (((n) = (i)->list.next), 1); (i) = (n))
