/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* iscsiadm's command line and its words, as far as connection scripts know them: pure functions for the
 * stand-in. Words are those of open-iscsi 2.1; scripts look for some of them. */

#include "json.h"

/* iscsiadm's exit statuses, iscsiadm(8). */
enum {
    ISCSIADM_ERROR = 1,
    ISCSIADM_CONNECT = 4,
    ISCSIADM_LOGIN = 5,
    ISCSIADM_INVALID = 7,
    ISCSIADM_TIMEOUT = 8,
    ISCSIADM_LOGOUT = 10,
    ISCSIADM_EXISTS = 15,
    ISCSIADM_DAEMON = 20,
    ISCSIADM_NO_OBJECTS = 21,
    ISCSIADM_AUTHORIZATION = 24,
};

typedef enum IscsiForm {
    ISCSI_SESSION,  /* -m session */
    ISCSI_DISCOVER, /* -m discovery -t sendtargets -p PORTAL */
    ISCSI_LOGIN,    /* -m node -T NAME -p PORTAL --login */
    ISCSI_LOGOUT,   /* -m node -T NAME [-p PORTAL] --logout */
    ISCSI_FORM_MAX,
    ISCSI_FORM_INVALID = -EINVAL,
} IscsiForm;

typedef struct IscsiCommand {
    IscsiForm form;
    const char *portal; /* borrowed from argv, or NULL */
    const char *target;
} IscsiCommand;

/* Understands the four forms in the spellings that iscsiadm allows for them. 0, or -EINVAL for everything
 * else. */
int iscsi_command_parse(int argc, char *const *argv, IscsiCommand *ret);

typedef struct IscsiChap {
    char *username, *password;
} IscsiChap;
void iscsi_chap_done(IscsiChap *c);
/* The CHAP name and secret in the text of an iscsid.conf: "discovery.sendtargets" or "node.session" is the
 * prefix. The last assignment counts; without authmethod = CHAP there is none. 1: there is one, 0: none,
 * -ENOMEM. */
int iscsi_chap_parse(const char *text, const char *prefix, IscsiChap *ret);

/* The request to ilr-connect for a command. NULL: no memory. */
json_object *iscsi_request_make(const IscsiCommand *c, const IscsiChap *chap);

/* Prints what iscsiadm would print when this is the outcome; returns its exit status. answer is what
 * ilr-connect said, or NULL if it could not be asked. Wrong types in it are survived. */
int iscsi_answer_print(const IscsiCommand *c, json_object *answer, FILE *out, FILE *err);
