/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The part of the configuration that says who may log in, and how. Texts are borrowed from the document. */

#include "document.h"

typedef struct ManagedIdentity {
    const char *client_id, *object_id, *resource_id;
} ManagedIdentity;

typedef struct LoginConfig {
    char **expired_secrets;         /* of the application; told apart from wrong ones */
    char **client_certificates;     /* PEM files */
    char **federated_tokens;        /* good as they are; one that is a JSON web token only before its exp */
    const char *public_client_id;   /* application that people sign in with, besides the other; or NULL */
    double device_code_seconds;     /* until a device code expires */
    double device_interval_seconds; /* between two looks */
    const char *imds_listen;        /* NULL: none */
    ManagedIdentity system;         /* client_id NULL: none */
    ManagedIdentity *users;
    size_t user_count;
    const char *arc_listen; /* NULL: none */
    const char *arc_key_directory;
    ManagedIdentity arc;
} LoginConfig;

/* From the keys of root. The first mistake is in d. */
void login_config_parse(Document *d, json_object *root, LoginConfig *c);
void login_config_done(LoginConfig *c);
/* "ADDRESS:PORT" */
bool listen_text_valid(const char *s);
