/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Both directions of an iSCSI connection through the portal's filter. The input is cut into pieces: one byte
 * with the direction (bit 7) and the size, then that many bytes. */

#include "iscsi-filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int targets(void *userdata, const char *user, const char *initiator, char ***ret)
{
    return strv_extendf(ret, "iqn.2016-01.microsoft.azure.backup:%zu-%zu", strlen(user), strlen(initiator));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Bytes out[ISCSI_DIRECTION_MAX] = {};
    IscsiFilter f;
    size_t i = 0;

    iscsi_filter_init(&f, targets, NULL, NULL);
    while (i < size) {
        IscsiDirection d = data[i] & 0x80 ? ISCSI_TO_CLIENT : ISCSI_TO_TARGET;
        size_t n = MIN((size_t)(data[i] & 0x7f) + 1, size - i - 1);

        if (iscsi_filter_feed(&f, d, (const char *)data + i + 1, n, &out[d]) < 0)
            break;
        /* What is held back is at most one PDU. */
        if (bytes_size(&f.input[d]) > ISCSI_DATA_MAX + 48 + 4 * 255 + 4)
            abort();
        i += n + 1;
    }
    bytes_done(&out[ISCSI_TO_TARGET]);
    bytes_done(&out[ISCSI_TO_CLIENT]);
    iscsi_filter_done(&f);
    return 0;
}
