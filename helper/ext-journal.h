/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where an ext3 or ext4 has its journal. One that is not in the file system itself it names by the number of
 * a device, and the kernel would open what has that number here, for writing: a disk of this host. */

/* 1: on another device, 0: on none or in the file system. fd is open on the volume's device. Only reads. */
int ext_journal_elsewhere(int fd);
