/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The text of io.ilrd.Recovery.varlink, compiled in: what GetInterfaceDescription answers. */

extern const char recovery_interface[];
