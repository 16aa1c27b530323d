/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iscsi-filter.h"

#include "validate.h"

#define BHS_SIZE 48
#define CHAP_NAME_MAX 512

/* Offsets in the basic header segment, RFC 7143 section 11. */
#define AT_FLAGS 1
#define AT_AHS_LENGTH 4 /* in words of four bytes */
#define AT_DATA_LENGTH 5
#define AT_LUN 8
#define AT_TRANSFER_TAG 20
#define AT_STATUS_CLASS 36

#define OPCODE_MASK 0x3f
#define OPCODE_LOGIN_REQUEST 0x03
#define OPCODE_LOGIN_RESPONSE 0x23
#define OPCODE_TEXT_RESPONSE 0x24

#define LOGIN_TRANSIT 0x80
#define LOGIN_CONTINUE 0x40
#define LOGIN_NEXT_STAGE 0x03
#define STAGE_FULL_FEATURE 3
#define TEXT_FINAL 0x80

#define ANSWER_DEFAULT 8192 /* MaxRecvDataSegmentLength where none is declared */
#define ANSWER_MIN 512

void bytes_done(Bytes *b)
{
    free(b->data);
    *b = (Bytes){};
}

int bytes_reserve(Bytes *b, size_t size)
{
    size_t used = bytes_size(b), allocated;
    char *d;

    if (size <= b->allocated - b->end)
        return 0;
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, used);
        b->start = 0;
        b->end = used;
        if (size <= b->allocated - b->end)
            return 0;
    }
    allocated = MAX(used + size, MAX(2 * b->allocated, (size_t)1024));
    d = realloc(b->data, allocated);
    if (!d)
        return -ENOMEM;
    b->data = d;
    b->allocated = allocated;
    return 0;
}

int bytes_append(Bytes *b, const void *bytes, size_t size)
{
    int r;

    if (size == 0)
        return 0;
    r = bytes_reserve(b, size);
    if (r < 0)
        return r;
    memcpy(b->data + b->end, bytes, size);
    b->end += size;
    return 0;
}

void bytes_take(Bytes *b, size_t size)
{
    b->start += size;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void iscsi_filter_init(IscsiFilter *f, IscsiTargets targets, const IscsiDiscovery *accounts, void *userdata)
{
    *f = (IscsiFilter){
        .answer_max = ANSWER_DEFAULT, .targets = targets, .accounts = accounts, .userdata = userdata};
    chap_init(&f->chap);
}

void iscsi_filter_done(IscsiFilter *f)
{
    bytes_done(&f->input[ISCSI_TO_TARGET]);
    bytes_done(&f->input[ISCSI_TO_CLIENT]);
    free(f->user);
    free(f->initiator);
    *f = (IscsiFilter){};
}

static size_t padded(size_t size)
{
    return (size + 3) & ~(size_t)3;
}

static size_t data_length(const unsigned char *bhs)
{
    return (size_t)bhs[AT_DATA_LENGTH] << 16 | (size_t)bhs[AT_DATA_LENGTH + 1] << 8 | bhs[AT_DATA_LENGTH + 2];
}

/* Header and additional headers as they are but for the length, then another data segment. */
static int append_pdu(Bytes *out, const unsigned char *header, size_t header_size, const Bytes *data)
{
    unsigned char bhs[BHS_SIZE];
    size_t size = bytes_size(data);
    int r;

    memcpy(bhs, header, BHS_SIZE);
    bhs[AT_DATA_LENGTH] = size >> 16;
    bhs[AT_DATA_LENGTH + 1] = size >> 8;
    bhs[AT_DATA_LENGTH + 2] = size;
    r = bytes_append(out, bhs, BHS_SIZE);
    if (r >= 0)
        r = bytes_append(out, header + BHS_SIZE, header_size - BHS_SIZE);
    if (r >= 0 && size > 0)
        r = bytes_append(out, data->data + data->start, size);
    if (r >= 0)
        r = bytes_append(out, "\0\0\0", padded(size) - size);
    return r;
}

static int remember(char **p, const char *value)
{
    char *copy = strdup(value);

    if (!copy)
        return -ENOMEM;
    free(*p);
    *p = copy;
    return 0;
}

/* One "key=value" of a login request. *ret_response: that of CHAP_R. */
static int login_key(IscsiFilter *f, const char *pair, char **ret_response)
{
    const char *value, *s;

    value = startswith(pair, "SessionType=");
    if (value) {
        f->discovery = streq(value, "Discovery");
        return 0;
    }
    value = startswith(pair, "InitiatorName=");
    if (value)
        return strlen(value) > ISCSI_NAME_MAX ? -EPROTO : remember(&f->initiator, value);
    value = startswith(pair, "MaxRecvDataSegmentLength=");
    if (value) {
        unsigned long n = strtoul(value, NULL, 0);

        f->answer_max = MIN(MAX(n, (unsigned long)ANSWER_MIN), (unsigned long)ISCSI_DATA_MAX);
        return 0;
    }
    value = startswith(pair, "CHAP_R=");
    if (value)
        return remember(ret_response, value);
    value = startswith(pair, "CHAP_N=");
    if (!value)
        return 0;
    if (strlen(value) > CHAP_NAME_MAX)
        return -EPROTO;
    s = strrchr(value, ';');
    return remember(&f->user, s ? s + 1 : value);
}

/* tgtd has places for a few accounts that it asks discovery sessions for. So the user's answer is judged
 * here, and a right one becomes that of the one account. A wrong one stays as it is, which the target
 * refuses. *ret: the CHAP_R in its place, or NULL. */
static int discovery_response(IscsiFilter *f, const char *response, char **ret)
{
    _cleanup_free_ char *password = NULL;
    int r;

    if (!f->accounts || !f->discovery || !f->user || !response)
        return 0;
    r = f->accounts->password_of(f->userdata, f->user, &password);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return chap_right(&f->chap, password, response) ? chap_answer(&f->chap, f->accounts->password, ret) : 0;
}

static int append_pair(Bytes *out, const char *key, const char *value)
{
    int r = bytes_append(out, key, strlen(key));

    return r < 0 ? r : bytes_append(out, value, strlen(value) + 1);
}

static bool is_key(const char *pair, size_t size, const char *key)
{
    return size >= strlen(key) && memcmp(pair, key, strlen(key)) == 0;
}

static int login_request(IscsiFilter *f, const unsigned char *pdu, size_t header_size, Bytes *out)
{
    const char *start = (const char *)pdu + header_size, *end = start + data_length(pdu), *p;
    _cleanup_free_ char *response = NULL, *other = NULL;
    _cleanup_(bytes_done) Bytes data = {};
    int r = 0;

    if ((pdu[0] & OPCODE_MASK) != OPCODE_LOGIN_REQUEST || (pdu[AT_FLAGS] & LOGIN_CONTINUE))
        return -EPROTO;
    for (p = start; p < end && r >= 0; p += strnlen(p, end - p) + 1) {
        _cleanup_free_ char *pair = strndup(p, end - p);

        r = pair ? login_key(f, pair, &response) : -ENOMEM;
    }
    if (r >= 0)
        r = discovery_response(f, response, &other);
    for (p = start; p < end && r >= 0; p += strnlen(p, end - p) + 1) {
        size_t n = strnlen(p, end - p);

        if (is_key(p, n, "CHAP_N="))
            r = append_pair(&data, "CHAP_N=", other ? f->accounts->user : f->user);
        else if (other && is_key(p, n, "CHAP_R="))
            r = append_pair(&data, "CHAP_R=", other);
        else
            r = bytes_append(&data, p, MIN(n + 1, (size_t)(end - p))); /* no NUL byte where there was none */
    }
    return r < 0 ? r : append_pdu(out, pdu, header_size, &data);
}

static bool has_digest(const char *p, const char *end)
{
    while (p < end) {
        size_t n = strnlen(p, end - p);
        const char *digest = memmem(p, n, "Digest=", strlen("Digest="));

        if (digest && memmem(digest, n - (digest - p), "CRC32C", strlen("CRC32C")))
            return true;
        p += n + 1;
    }
    return false;
}

static int note_challenge(IscsiFilter *f, const char *p, const char *end)
{
    int r = 0;

    for (; p < end && r >= 0; p += strnlen(p, end - p) + 1) {
        _cleanup_free_ char *pair = strndup(p, end - p);

        r = pair ? chap_note(&f->chap, pair) : -ENOMEM;
    }
    return r;
}

static int login_response(IscsiFilter *f, const unsigned char *pdu, size_t header_size, size_t size,
                          Bytes *out)
{
    const char *data = (const char *)pdu + header_size;
    int r;

    if ((pdu[0] & OPCODE_MASK) == OPCODE_LOGIN_RESPONSE && pdu[AT_STATUS_CLASS] == 0) {
        if (f->discovery && has_digest(data, data + data_length(pdu)))
            return -EPROTO;
        r = f->discovery ? note_challenge(f, data, data + data_length(pdu)) : 0;
        if (r < 0)
            return r;
        if ((pdu[AT_FLAGS] & LOGIN_TRANSIT) && (pdu[AT_FLAGS] & LOGIN_NEXT_STAGE) == STAGE_FULL_FEATURE)
            f->phase = f->discovery ? ISCSI_PHASE_DISCOVERY : ISCSI_PHASE_NORMAL;
    }
    return bytes_append(out, pdu, size);
}

/* Whatever the target listed, the user's own names are the answer, all of them in one PDU: sequence numbers
 * and task tag stay the target's. */
static int text_response(IscsiFilter *f, const unsigned char *pdu, size_t header_size, size_t size,
                         Bytes *out)
{
    _cleanup_strv_free_ char **names = NULL;
    _cleanup_(bytes_done) Bytes data = {};
    unsigned char bhs[BHS_SIZE];
    char **name;
    int r;

    if ((pdu[0] & OPCODE_MASK) != OPCODE_TEXT_RESPONSE)
        return bytes_append(out, pdu, size);
    r = f->targets(f->userdata, f->user ? f->user : "", f->initiator ? f->initiator : "", &names);
    if (r < 0)
        return r;
    STRV_FOREACH (name, names) {
        if (bytes_size(&data) + strlen("TargetName=") + strlen(*name) + 1 > f->answer_max) {
            f->cut = true;
            break;
        }
        r = bytes_append(&data, "TargetName=", strlen("TargetName="));
        if (r >= 0)
            r = bytes_append(&data, *name, strlen(*name) + 1);
        if (r < 0)
            return r;
    }
    memcpy(bhs, pdu, BHS_SIZE);
    bhs[AT_FLAGS] = TEXT_FINAL;
    bhs[AT_AHS_LENGTH] = 0;
    memset(bhs + AT_LUN, 0, 8);
    memset(bhs + AT_TRANSFER_TAG, 0xff, 4);
    return append_pdu(out, bhs, BHS_SIZE, &data);
}

bool iscsi_filter_transparent(const IscsiFilter *f, IscsiDirection direction)
{
    return bytes_size(&f->input[direction]) == 0 &&
           (f->phase == ISCSI_PHASE_NORMAL ||
            (f->phase == ISCSI_PHASE_DISCOVERY && direction == ISCSI_TO_TARGET));
}

static int filter_pdu(IscsiFilter *f, IscsiDirection direction, const unsigned char *pdu, size_t header_size,
                      size_t size, Bytes *out)
{
    if (f->phase == ISCSI_PHASE_DISCOVERY)
        return text_response(f, pdu, header_size, size, out);
    if (direction == ISCSI_TO_TARGET)
        return login_request(f, pdu, header_size, out);
    return login_response(f, pdu, header_size, size, out);
}

int iscsi_filter_feed(IscsiFilter *f, IscsiDirection direction, const char *bytes, size_t size, Bytes *out)
{
    Bytes *in = &f->input[direction];
    int r;

    if (iscsi_filter_transparent(f, direction))
        return bytes_append(out, bytes, size);
    r = bytes_append(in, bytes, size);
    if (r < 0)
        return r;
    while (bytes_size(in) > 0) {
        const unsigned char *pdu = (const unsigned char *)in->data + in->start;
        size_t header_size, pdu_size;

        if (f->phase == ISCSI_PHASE_NORMAL ||
            (f->phase == ISCSI_PHASE_DISCOVERY && direction == ISCSI_TO_TARGET)) {
            /* The last login response has just gone by: what came early is let go. */
            r = bytes_append(out, pdu, bytes_size(in));
            bytes_take(in, bytes_size(in));
            return r;
        }
        if (bytes_size(in) < BHS_SIZE)
            return 0;
        if (data_length(pdu) > ISCSI_DATA_MAX)
            return -EPROTO;
        header_size = BHS_SIZE + 4 * (size_t)pdu[AT_AHS_LENGTH];
        pdu_size = header_size + padded(data_length(pdu));
        if (bytes_size(in) < pdu_size)
            return 0;
        r = filter_pdu(f, direction, pdu, header_size, pdu_size, out);
        if (r < 0)
            return r;
        bytes_take(in, pdu_size);
    }
    return 0;
}
