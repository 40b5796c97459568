
/*
 * JSON texts: checked, and cut as they are checked.
 *
 * One pass over the text finds whether it is JSON, and the members or elements
 * of its outermost container.  There is no recursion: what is open is a byte
 * per level, as many as the depth that is allowed.  A text that is refused is
 * looked at once more, for the reason only: bytes that are not UTF-8 anywhere
 * in it come first.
 *
 * Slices of a text that was checked are cut by a plain walk: strings end at
 * their quote, containers where brackets balance.
 *
 * Longer than other files, since all of it is about one grammar: the check, the
 * walk and the escapes share their tables of bytes.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_json.h"
#include "rtbus_number.h"
#include "rtbus_utf8.h"


struct rtbus_json_s {
    unsigned         depth;
    const uint8_t   *failed;
    uint8_t          closing[];     /* the end of each level, none of level 0 */
};


/* where the parts of the outermost container go, if it is the one wanted */

typedef struct {
    uint8_t               closing;  /* '}', ']'; 0: no parts are wanted */
    rtbus_json_member_t  *members;
    size_t                nmembers;
    rtbus_json_value_t   *values;
    size_t                nvalues;
    size_t                n;        /* elements so far */
} rtbus_json_parts_t;


static int rtbus_json_check(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_parts_t *parts, rtbus_json_value_t *value,
    rtbus_reason_e *reason);
static int rtbus_json_scan(rtbus_json_t *json, const rtbus_str_t *text,
    rtbus_json_parts_t *parts, rtbus_reason_e *reason);
static inline int rtbus_json_quoted(const uint8_t **pos, const uint8_t *last,
    int *escaped);
static inline int rtbus_json_colon(const uint8_t **pos, const uint8_t *last);
static inline int rtbus_json_scalar(const uint8_t **pos, const uint8_t *last);
static inline const uint8_t *rtbus_json_string(const uint8_t *p,
    const uint8_t *last, int *escaped);
static inline const uint8_t *rtbus_json_plain(const uint8_t *p,
    const uint8_t *last);
static const uint8_t *rtbus_json_special(const uint8_t *p,
    const uint8_t *last, int *escaped);
static size_t rtbus_json_escape(const uint8_t *p, const uint8_t *last);
static const uint8_t *rtbus_json_number(const uint8_t *p,
    const uint8_t *last);
static const uint8_t *rtbus_json_digits(const uint8_t *p,
    const uint8_t *last);
static int rtbus_json_is_digit(uint8_t c);
static void rtbus_json_part(rtbus_json_parts_t *parts, const rtbus_str_t *key,
    int escaped, const rtbus_json_value_t *value);
static void rtbus_json_clear(rtbus_json_member_t *members, size_t nmembers);
static void rtbus_json_match(rtbus_json_member_t *members, size_t nmembers,
    const rtbus_str_t *key, int escaped, const rtbus_json_value_t *value);
static const uint8_t *rtbus_json_cut(rtbus_json_value_t *value,
    const uint8_t *p, const uint8_t *last, int *escaped);
static const uint8_t *rtbus_json_skip_space(const uint8_t *p);
static const uint8_t *rtbus_json_skip_string(const uint8_t *p,
    const uint8_t *last, int *escaped);
static const uint8_t *rtbus_json_skip_container(const uint8_t *p,
    const uint8_t *last);
static int rtbus_json_key_is(const rtbus_str_t *raw, const char *name,
    size_t len);
static int rtbus_json_key_like(const rtbus_str_t *raw, const char *name,
    size_t len);
static size_t rtbus_json_fold(uint8_t *dst, const uint8_t **pos,
    const uint8_t *last, int escapes);
static size_t rtbus_json_unescape(uint8_t *dst, const uint8_t **pos,
    const uint8_t *last);
static uint32_t rtbus_json_hex4(const uint8_t *p);
static size_t rtbus_json_encode(uint8_t *dst, uint32_t c);


static const uint8_t  rtbus_json_replacement[] = { 0xef, 0xbf, 0xbd };


rtbus_json_t *
rtbus_json_create(unsigned depth)
{
    rtbus_json_t  *json;

    json = calloc(1, sizeof(rtbus_json_t) + (size_t) depth + 1);
    if (json == NULL) {
        return NULL;
    }

    json->depth = depth;

    return json;
}


void
rtbus_json_destroy(rtbus_json_t *json)
{
    free(json);
}


int
rtbus_json_value(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_value_t *value, rtbus_reason_e *reason)
{
    rtbus_json_parts_t  parts;

    parts.closing = '\0';

    return rtbus_json_check(json, p, len, &parts, value, reason);
}


int
rtbus_json_object(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_member_t *members, size_t nmembers, rtbus_reason_e *reason)
{
    rtbus_json_parts_t  parts;
    rtbus_json_value_t  value;

    rtbus_json_clear(members, nmembers);

    parts.closing = '}';
    parts.members = members;
    parts.nmembers = nmembers;

    if (rtbus_json_check(json, p, len, &parts, &value, reason) != RTBUS_OK) {
        rtbus_json_clear(members, nmembers);
        return RTBUS_ERROR;
    }

    if (value.type != RTBUS_JSON_OBJECT) {
        *reason = RTBUS_REASON_OBJECT;
        return RTBUS_ERROR;
    }

    return RTBUS_OK;
}


int
rtbus_json_array(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_value_t *values, size_t *n, rtbus_reason_e *reason)
{
    rtbus_json_parts_t  parts;
    rtbus_json_value_t  value;

    parts.closing = ']';
    parts.values = values;
    parts.nvalues = *n;
    parts.n = 0;

    if (rtbus_json_check(json, p, len, &parts, &value, reason) != RTBUS_OK) {
        return RTBUS_ERROR;
    }

    if (value.type != RTBUS_JSON_ARRAY) {
        *reason = RTBUS_REASON_ARRAY;
        return RTBUS_ERROR;
    }

    *n = parts.n;

    return RTBUS_OK;
}


const uint8_t *
rtbus_json_failed(const rtbus_json_t *json)
{
    return json->failed;
}


rtbus_json_type_e
rtbus_json_type(uint8_t c)
{
    switch (c) {

    case '{':
        return RTBUS_JSON_OBJECT;

    case '[':
        return RTBUS_JSON_ARRAY;

    case '"':
        return RTBUS_JSON_STRING;

    case 'n':
        return RTBUS_JSON_NULL;

    case 't':
    case 'f':
        return RTBUS_JSON_BOOL;

    default:
        return RTBUS_JSON_NUMBER;
    }
}


void
rtbus_json_members(const rtbus_str_t *raw, rtbus_json_member_t *members,
    size_t nmembers)
{
    int                  escaped, ignored;
    const uint8_t       *p, *last;
    rtbus_json_value_t   key, value;

    rtbus_json_clear(members, nmembers);

    /* white space is never the last byte: the walk is stopped by the brace */

    last = raw->data + raw->len - 1;
    p = rtbus_json_skip_space(raw->data + 1);

    while (p < last) {

        p = rtbus_json_cut(&key, p, last, &escaped);

        p = rtbus_json_skip_space(p);
        p = rtbus_json_skip_space(p + 1);          /* the colon */

        p = rtbus_json_cut(&value, p, last, &ignored);

        rtbus_json_match(members, nmembers, &key.raw, escaped, &value);

        p = rtbus_json_skip_space(p);

        if (p < last) {
            p = rtbus_json_skip_space(p + 1);      /* the comma */
        }
    }
}


size_t
rtbus_json_count(const rtbus_str_t *raw, const char *name, size_t len)
{
    size_t               n;
    const uint8_t       *pos;
    rtbus_json_value_t   key, value;

    n = 0;
    pos = NULL;

    while (rtbus_json_next(&key, &pos, raw) == RTBUS_OK) {
        n += rtbus_json_key_like(&key.raw, name, len);

        (void) rtbus_json_next(&value, &pos, raw);
    }

    return n;
}


int
rtbus_json_next(rtbus_json_value_t *value, const uint8_t **pos,
    const rtbus_str_t *raw)
{
    int             escaped;
    const uint8_t  *p, *last;

    last = raw->data + raw->len - 1;

    p = (*pos == NULL) ? raw->data + 1 : *pos;
    p = rtbus_json_skip_space(p);

    if (p == last) {
        *pos = last;
        return RTBUS_AGAIN;
    }

    p = rtbus_json_cut(value, p, last, &escaped);
    p = rtbus_json_skip_space(p);

    *pos = (p < last) ? p + 1 : last;              /* the comma */

    return RTBUS_OK;
}


size_t
rtbus_json_unquote(uint8_t *dst, const rtbus_str_t *raw)
{
    size_t          n, len;
    uint8_t         buf[4];
    const uint8_t  *p, *last, *slash;

    n = 0;
    p = raw->data + 1;
    last = raw->data + raw->len - 1;

    while (p < last) {

        slash = memchr(p, '\\', last - p);
        len = (slash ? slash : last) - p;

        if (dst && len) {
            memcpy(dst + n, p, len);
        }

        n += len;
        p += len;

        if (p == last) {
            break;
        }

        len = rtbus_json_unescape(buf, &p, last);

        if (dst) {
            memcpy(dst + n, buf, len);
        }

        n += len;
    }

    return n;
}


size_t
rtbus_json_quote(uint8_t *dst, const uint8_t *p, size_t len)
{
    size_t          n, size;
    uint8_t         buf[6];
    const uint8_t  *last, *start, *src;

    static const uint8_t  hex[] = "0123456789abcdef";

    if (dst) {
        dst[0] = '"';
    }

    n = 1;
    last = len ? p + len : p;

    while (p < last) {

        start = p;

        for ( ;; ) {
            p = rtbus_json_plain(p, last);

            if (p == last || *p < 0x80) {
                break;
            }

            size = rtbus_utf8_character(p, last);
            if (size == 0) {
                break;
            }

            p += size;
        }

        size = p - start;

        if (dst && size) {
            memcpy(dst + n, start, size);
        }

        n += size;

        if (p == last) {
            break;
        }

        src = buf;
        size = 2;
        buf[0] = '\\';

        switch (*p) {

        case '"':
        case '\\':
            buf[1] = *p;
            break;

        case '\b':
            buf[1] = 'b';
            break;

        case '\t':
            buf[1] = 't';
            break;

        case '\n':
            buf[1] = 'n';
            break;

        case '\f':
            buf[1] = 'f';
            break;

        case '\r':
            buf[1] = 'r';
            break;

        default:
            if (*p >= 0x80) {
                src = rtbus_json_replacement;
                size = sizeof(rtbus_json_replacement);
                break;
            }

            buf[1] = 'u';
            buf[2] = '0';
            buf[3] = '0';
            buf[4] = hex[*p >> 4];
            buf[5] = hex[*p & 0xf];
            size = 6;
        }

        if (dst) {
            memcpy(dst + n, src, size);
        }

        n += size;
        p++;
    }

    if (dst) {
        dst[n] = '"';
    }

    return n + 1;
}


int
rtbus_json_uint(const rtbus_str_t *raw, uint64_t *n)
{
    uint64_t        value;
    const uint8_t  *last;

    if (raw->len == 0) {
        return RTBUS_ERROR;
    }

    last = raw->data + raw->len;

    if (rtbus_number_parse(&value, raw->data, last) != last) {
        return RTBUS_ERROR;
    }

    *n = value;

    return RTBUS_OK;
}


/* the text is one JSON value, and here it is without white space around */

static int
rtbus_json_check(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_parts_t *parts, rtbus_json_value_t *value,
    rtbus_reason_e *reason)
{
    const uint8_t  *last;

    json->failed = NULL;

    last = len ? p + len : p;

    while (p < last && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) {
        p++;
    }

    while (p < last && (last[-1] == ' ' || last[-1] == '\t' || last[-1] == '\n'
                        || last[-1] == '\r'))
    {
        last--;
    }

    if (p == last) {
        *reason = RTBUS_REASON_JSON;
        return RTBUS_ERROR;
    }

    value->raw.data = (uint8_t *) p;
    value->raw.len = last - p;
    value->type = rtbus_json_type(*p);

    return rtbus_json_scan(json, &value->raw, parts, reason);
}


/*
 * The text has a byte, and its last one is not white space: white space ends
 * before last wherever it begins before it.
 */

static int
rtbus_json_scan(rtbus_json_t *json, const rtbus_str_t *text,
    rtbus_json_parts_t *parts, rtbus_reason_e *reason)
{
    int                  escaped, ignored;
    uint8_t              closing;
    unsigned             level;
    rtbus_str_t          key;
    rtbus_reason_e       refused;
    const uint8_t       *p, *last, *start;
    rtbus_json_value_t   value;

    refused = RTBUS_REASON_JSON;

    p = text->data;
    last = p + text->len;

    level = 0;
    closing = '\0';
    escaped = 0;
    key.len = 0;
    key.data = NULL;
    value.raw.data = NULL;

    for ( ;; ) {

        if (p == last) {
            goto failed;
        }

        p = rtbus_json_skip_space(p);

        if (closing == '}') {
            start = p;

            if (rtbus_json_quoted(&p, last, level == 1 ? &escaped : &ignored)
                != RTBUS_OK)
            {
                goto failed;
            }

            if (level == 1) {
                key.data = (uint8_t *) start;
                key.len = p - start;
            }

            if (rtbus_json_colon(&p, last) != RTBUS_OK) {
                goto failed;
            }
        }

        if (level == 1) {
            value.raw.data = (uint8_t *) p;
        }

        switch (*p) {

        case '"':
            if (rtbus_json_quoted(&p, last, &ignored) != RTBUS_OK) {
                goto failed;
            }

            break;

        case '{':
        case '[':
            if (level == json->depth) {
                refused = RTBUS_REASON_DEPTH;
                goto failed;
            }

            closing = (*p == '{') ? '}' : ']';
            json->closing[++level] = closing;

            p++;

            if (p == last) {
                goto failed;
            }

            p = rtbus_json_skip_space(p);

            if (*p != closing) {
                continue;
            }

            p++;
            closing = json->closing[--level];
            break;

        default:
            if (rtbus_json_scalar(&p, last) != RTBUS_OK) {
                goto failed;
            }
        }

        /* a value has ended, and perhaps the containers it is the last of */

        for ( ;; ) {

            if (level == 0) {

                if (p < last) {
                    p = rtbus_json_skip_space(p);
                    goto failed;
                }

                return RTBUS_OK;
            }

            if (level == 1 && closing == parts->closing) {
                value.raw.len = p - value.raw.data;
                rtbus_json_part(parts, &key, escaped, &value);
            }

            if (p == last) {
                goto failed;
            }

            p = rtbus_json_skip_space(p);

            if (*p == ',') {
                p++;
                break;
            }

            if (*p != closing) {
                goto failed;
            }

            p++;
            closing = json->closing[--level];
        }
    }

failed:

    if (rtbus_utf8_check(RTBUS_UTF8_ACCEPT, text->data, text->len)
        != RTBUS_UTF8_ACCEPT)
    {
        *reason = RTBUS_REASON_UTF8;
        return RTBUS_ERROR;
    }

    json->failed = p;
    *reason = refused;

    return RTBUS_ERROR;
}


/*
 * The three below move *pos behind what they read: a string in its quotes, or
 * what the comments say.  RTBUS_OK, or RTBUS_ERROR:
 * *pos is the byte that is wrong, or last.
 */

static inline int
rtbus_json_quoted(const uint8_t **pos, const uint8_t *last, int *escaped)
{
    if (**pos != '"') {
        return RTBUS_ERROR;
    }

    *pos = rtbus_json_string(*pos + 1, last, escaped);

    if (*pos == last || **pos != '"') {
        return RTBUS_ERROR;
    }

    (*pos)++;

    return RTBUS_OK;
}


/* from behind a key to the first byte of its value */

static inline int
rtbus_json_colon(const uint8_t **pos, const uint8_t *last)
{
    if (*pos == last) {
        return RTBUS_ERROR;
    }

    *pos = rtbus_json_skip_space(*pos);

    if (**pos != ':') {
        return RTBUS_ERROR;
    }

    (*pos)++;

    if (*pos == last) {
        return RTBUS_ERROR;
    }

    *pos = rtbus_json_skip_space(*pos);

    return RTBUS_OK;
}


/* a number, or one of the three literals */

static inline int
rtbus_json_scalar(const uint8_t **pos, const uint8_t *last)
{
    const uint8_t  *p;

    p = *pos;

    switch (*p) {

    case 'n':
        if (last - p < 4 || memcmp(p, "null", 4) != 0) {
            return RTBUS_ERROR;
        }

        *pos = p + 4;
        return RTBUS_OK;

    case 't':
        if (last - p < 4 || memcmp(p, "true", 4) != 0) {
            return RTBUS_ERROR;
        }

        *pos = p + 4;
        return RTBUS_OK;

    case 'f':
        if (last - p < 5 || memcmp(p, "false", 5) != 0) {
            return RTBUS_ERROR;
        }

        *pos = p + 5;
        return RTBUS_OK;

    default:
        if (*p != '-' && !rtbus_json_is_digit(*p)) {
            return RTBUS_ERROR;
        }

        *pos = rtbus_json_number(p, last);

        return rtbus_json_is_digit((*pos)[-1]) ? RTBUS_OK : RTBUS_ERROR;
    }
}


/*
 * The string that p is in.  Answers its closing quote; if there is none, the
 * byte (of an escape: the backslash) that no string can have here, or last.
 */

static inline const uint8_t *
rtbus_json_string(const uint8_t *p, const uint8_t *last, int *escaped)
{
    *escaped = 0;

    p = rtbus_json_plain(p, last);

    if (p == last || *p == '"') {
        return p;
    }

    return rtbus_json_special(p, last, escaped);
}


/* the rest of a string that has more than plain bytes */

static const uint8_t *
rtbus_json_special(const uint8_t *p, const uint8_t *last, int *escaped)
{
    size_t  n;

    while (p < last && *p != '"') {

        if (*p >= 0x80) {
            n = rtbus_utf8_character(p, last);

        } else if (*p == '\\') {
            *escaped = 1;
            n = rtbus_json_escape(p, last);

        } else {
            n = 0;
        }

        if (n == 0) {
            break;
        }

        p += n;

        /* texts in other scripts have many of them in a row */

        if (p < last && *p < 0x80) {
            p = rtbus_json_plain(p, last);
        }
    }

    return p;
}


/*
 * Steps over what stands for itself in a string: 0x20..0x7f but the quote and
 * the backslash, which are 0x22 and 0x5c.
 *
 * Eight bytes at a time, a byte that does not has its top bit set: if it had
 * it from the start, if it is below 0x21 with the bits of 0x02 flipped
 * (a quote becomes 0x20), or if it is 0 with those of a backslash flipped.  A
 * subtraction borrows from the byte above only where the bit gets set anyway,
 * so the lowest one is right.
 */

static inline const uint8_t *
rtbus_json_plain(const uint8_t *p, const uint8_t *last)
{
    uint64_t  word, marks;

    while (last - p >= 8) {
        memcpy(&word, p, 8);

        marks = word
                | ((word ^ rtbus_eight(0x02)) - rtbus_eight(0x21))
                | ((word ^ rtbus_eight(0x5c)) - rtbus_eight(0x01));

        marks &= rtbus_eight(0x80);

        if (marks) {
#if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
            return p + (__builtin_ctzll(marks) >> 3);
#else
            break;
#endif
        }

        p += 8;
    }

    while (p < last && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') {
        p++;
    }

    return p;
}


/* the length of the escape at p; 0: it is none */

static size_t
rtbus_json_escape(const uint8_t *p, const uint8_t *last)
{
    size_t   i;
    uint8_t  c;

    if (last - p < 2) {
        return 0;
    }

    switch (p[1]) {

    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return 2;

    case 'u':
        break;

    default:
        return 0;
    }

    if (last - p < 6) {
        return 0;
    }

    for (i = 2; i < 6; i++) {
        c = p[i] | 0x20;

        if (!rtbus_json_is_digit(p[i]) && (c < 'a' || c > 'f')) {
            return 0;
        }
    }

    return 6;
}


/*
 * p is at a minus or a digit.  Answers the first byte that does not go on with
 * the number, which is whole if there is a digit before it.
 */

static const uint8_t *
rtbus_json_number(const uint8_t *p, const uint8_t *last)
{
    if (*p == '-') {
        p++;

        if (p == last || !rtbus_json_is_digit(*p)) {
            return p;
        }
    }

    /* no leading zeros (RFC 8259 section 6) */

    p = (*p == '0') ? p + 1 : rtbus_json_digits(p, last);

    if (p < last && *p == '.') {
        p = rtbus_json_digits(p + 1, last);

        if (p[-1] == '.') {
            return p;
        }
    }

    if (p < last && (*p == 'e' || *p == 'E')) {
        p++;

        if (p < last && (*p == '+' || *p == '-')) {
            p++;
        }

        p = rtbus_json_digits(p, last);
    }

    return p;
}


static const uint8_t *
rtbus_json_digits(const uint8_t *p, const uint8_t *last)
{
    while (p < last && rtbus_json_is_digit(*p)) {
        p++;
    }

    return p;
}


static int
rtbus_json_is_digit(uint8_t c)
{
    return (uint8_t) (c - '0') <= 9;
}


/* a value of the outermost container; key: of an object */

static void
rtbus_json_part(rtbus_json_parts_t *parts, const rtbus_str_t *key,
    int escaped, const rtbus_json_value_t *value)
{
    rtbus_json_value_t  part;

    part.raw = value->raw;
    part.type = rtbus_json_type(part.raw.data[0]);

    if (parts->closing == '}') {
        rtbus_json_match(parts->members, parts->nmembers, key, escaped, &part);
        return;
    }

    if (parts->n < parts->nvalues) {
        parts->values[parts->n] = part;
    }

    parts->n++;
}


static void
rtbus_json_clear(rtbus_json_member_t *members, size_t nmembers)
{
    size_t  i;

    for (i = 0; i < nmembers; i++) {
        members[i].value.raw.len = 0;
        members[i].value.raw.data = NULL;
        members[i].value.type = RTBUS_JSON_NONE;
    }
}


/* the key as it stands, in quotes */

static void
rtbus_json_match(rtbus_json_member_t *members, size_t nmembers,
    const rtbus_str_t *key, int escaped, const rtbus_json_value_t *value)
{
    size_t                i, len;
    const uint8_t        *p;
    rtbus_json_member_t  *m;

    if (escaped) {

        for (i = 0; i < nmembers; i++) {
            if (rtbus_json_key_is(key, members[i].name, members[i].len)) {
                members[i].value = *value;
            }
        }

        return;
    }

    p = key->data + 1;
    len = key->len - 2;

    for (i = 0; i < nmembers; i++) {
        m = &members[i];

        if (m->len == len
            && (len == 0 || (m->name[0] == (char) p[0]
                             && memcmp(m->name, p, len) == 0)))
        {
            m->value = *value;
        }
    }
}


/*
 * From here on the text is known to be good.  Takes the value that starts at
 * p; answers its end.
 */

static const uint8_t *
rtbus_json_cut(rtbus_json_value_t *value, const uint8_t *p,
    const uint8_t *last, int *escaped)
{
    value->raw.data = (uint8_t *) p;
    value->type = rtbus_json_type(*p);

    switch (value->type) {

    case RTBUS_JSON_STRING:
        p = rtbus_json_skip_string(p, last, escaped);
        break;

    case RTBUS_JSON_OBJECT:
    case RTBUS_JSON_ARRAY:
        p = rtbus_json_skip_container(p, last);
        break;

    default:
        while (p < last && *p > ' ' && *p != ',' && *p != ']' && *p != '}') {
            p++;
        }
    }

    value->raw.len = p - value->raw.data;

    return p;
}


static const uint8_t *
rtbus_json_skip_space(const uint8_t *p)
{
    while (*p <= ' '
           && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
    {
        p++;
    }

    return p;
}


static const uint8_t *
rtbus_json_skip_string(const uint8_t *p, const uint8_t *last, int *escaped)
{
    p = rtbus_json_string(p + 1, last, escaped);

    return (p < last) ? p + 1 : last;
}


static const uint8_t *
rtbus_json_skip_container(const uint8_t *p, const uint8_t *last)
{
    int       escaped;
    unsigned  level;

    level = 0;

    while (p < last) {

        switch (*p) {

        case '"':
            p = rtbus_json_skip_string(p, last, &escaped);
            continue;

        case '{':
        case '[':
            level++;
            break;

        case '}':
        case ']':
            if (--level == 0) {
                return p + 1;
            }

            break;
        }

        p++;
    }

    return last;
}


/* compares a key that has escapes */

static int
rtbus_json_key_is(const rtbus_str_t *raw, const char *name, size_t len)
{
    size_t          n;
    uint8_t         buf[4];
    const uint8_t  *p, *last;

    p = raw->data + 1;
    last = raw->data + raw->len - 1;

    while (p < last) {

        if (*p == '\\') {
            n = rtbus_json_unescape(buf, &p, last);

        } else {
            buf[0] = *p++;
            n = 1;
        }

        if (n > len || memcmp(buf, name, n) != 0) {
            return 0;
        }

        name += n;
        len -= n;
    }

    return len == 0;
}


/* compares a key without regard to the case of letters */

static int
rtbus_json_key_like(const rtbus_str_t *raw, const char *name, size_t len)
{
    size_t          n;
    uint8_t         a[4], b[4];
    const uint8_t  *p, *last, *q, *end;

    p = raw->data + 1;
    last = raw->data + raw->len - 1;

    q = (const uint8_t *) name;
    end = q + len;

    while (p < last && q < end) {

        n = rtbus_json_fold(a, &p, last, 1);

        if (rtbus_json_fold(b, &q, end, 0) != n || memcmp(a, b, n) != 0) {
            return 0;
        }
    }

    return p == last && q == end;
}


/* steps over the character at *pos; 1 to 4 bytes of its small letter to dst */

static size_t
rtbus_json_fold(uint8_t *dst, const uint8_t **pos, const uint8_t *last,
    int escapes)
{
    size_t  n;

    if (escapes && **pos == '\\') {
        n = rtbus_json_unescape(dst, pos, last);

    } else {
        n = (**pos < 0x80) ? 1 : rtbus_utf8_character(*pos, last);

        if (n == 0) {
            n = 1;
        }

        memcpy(dst, *pos, n);
        *pos += n;
    }

    if (n == 1) {

        if (dst[0] >= 'A' && dst[0] <= 'Z') {
            dst[0] |= 0x20;
        }

        return 1;
    }

    if (n == 2 && dst[0] == 0xc5 && dst[1] == 0xbf) {
        dst[0] = 's';                       /* U+017F, the long one */
        return 1;
    }

    if (n == 2 && dst[0] == 0xc4 && (dst[1] == 0xb0 || dst[1] == 0xb1)) {
        dst[0] = 'i';                       /* U+0130, U+0131, the Turkish */
        return 1;
    }

    if (n == 3 && dst[0] == 0xe2 && dst[1] == 0x84 && dst[2] == 0xaa) {
        dst[0] = 'k';                       /* U+212A, Kelvin */
        return 1;
    }

    return n;
}


/* decodes the escape at *pos and steps over it; 1 to 4 bytes go to dst */

static size_t
rtbus_json_unescape(uint8_t *dst, const uint8_t **pos, const uint8_t *last)
{
    uint32_t        c, low;
    const uint8_t  *p;

    p = *pos + 1;
    c = *p++;

    switch (c) {

    case 'b':
        c = '\b';
        break;

    case 't':
        c = '\t';
        break;

    case 'n':
        c = '\n';
        break;

    case 'f':
        c = '\f';
        break;

    case 'r':
        c = '\r';
        break;

    case 'u':
        c = rtbus_json_hex4(p);
        p += 4;

        if (c < 0xd800 || c > 0xdfff) {
            break;
        }

        /* RFC 8259 section 7: two escapes make one character above U+FFFF */

        if (c < 0xdc00 && last - p >= 6 && p[0] == '\\' && p[1] == 'u') {
            low = rtbus_json_hex4(p + 2);

            if (low >= 0xdc00 && low <= 0xdfff) {
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                p += 6;
                break;
            }
        }

        c = 0xfffd;
        break;

    default:
        /* a quote, a slash or a backslash stands for itself */
        break;
    }

    *pos = p;

    return rtbus_json_encode(dst, c);
}


static uint32_t
rtbus_json_hex4(const uint8_t *p)
{
    size_t    i;
    uint32_t  c;

    c = 0;

    for (i = 0; i < 4; i++) {
        c = c << 4 | (p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
    }

    return c;
}


static size_t
rtbus_json_encode(uint8_t *dst, uint32_t c)
{
    if (c < 0x80) {
        dst[0] = c;
        return 1;
    }

    if (c < 0x800) {
        dst[0] = 0xc0 | c >> 6;
        dst[1] = 0x80 | (c & 0x3f);
        return 2;
    }

    if (c < 0x10000) {
        dst[0] = 0xe0 | c >> 12;
        dst[1] = 0x80 | (c >> 6 & 0x3f);
        dst[2] = 0x80 | (c & 0x3f);
        return 3;
    }

    dst[0] = 0xf0 | c >> 18;
    dst[1] = 0x80 | (c >> 12 & 0x3f);
    dst[2] = 0x80 | (c >> 6 & 0x3f);
    dst[3] = 0x80 | (c & 0x3f);

    return 4;
}
