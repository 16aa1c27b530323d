/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* /etc/iscsi/initiatorname.iscsi, which only root may read: this host's own iSCSI name. */

#include "failure.h"

/* Exactly one InitiatorName= line with a valid name; comments and empty lines besides. -EBADMSG with a
 * failure. */
int initiator_name_parse(const char *text, char **ret, Failure **ret_failure);
/* The name of this host. A missing file and the distribution's "not generated yet" are NotConfigured. */
int initiator_name_read(char **ret, Failure **ret_failure);
