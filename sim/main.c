/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilr-sim: a stand-in for the part of Azure that ilrd talks to, for rehearsals and for the tests. */

#include "backend.h"

int main(int argc, char **argv)
{
    if (argc == 2 && streq(argv[1], "--version")) {
        puts("ilr-sim " PACKAGE_VERSION);
        return 0;
    }
    fprintf(stderr, "Usage: ilr-sim --config FILE\n");
    return 2;
}
