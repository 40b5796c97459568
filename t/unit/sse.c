
/*
 * rtbus_sse: the bytes themselves, then what an EventSource makes of them: a
 * small reader written from the WHATWG text, fed at all read sizes, must get
 * name, data and id back.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_sse.h"
#include "unit.h"


#define READER_MAX  512


/* fields are kept with the bytes so far; the count tells a second dispatch */

typedef struct {
    size_t  len;
    char    data[READER_MAX];
} buffer_t;


typedef struct {
    buffer_t  line;
    buffer_t  name;
    buffer_t  data;
    buffer_t  id;
    int       after_cr;
    int       dispatched;
    int       ignored;       /* lines that mean nothing to a reader */
} reader_t;


static void
buffer_add(buffer_t *b, const char *p, size_t len)
{
    if (b->len + len > READER_MAX) {
        abort();
    }

    memcpy(b->data + b->len, p, len);
    b->len += len;
}


static void
buffer_set(buffer_t *b, const char *p, size_t len)
{
    b->len = 0;
    buffer_add(b, p, len);
}


static void
reader_line(reader_t *r)
{
    size_t       len, field;
    const char  *p, *colon, *value;

    p = r->line.data;
    len = r->line.len;

    if (len == 0) {

        if (r->data.len == 0) {
            return;
        }

        r->data.len--;
        r->dispatched++;

        return;
    }

    colon = memchr(p, ':', len);
    field = colon ? (size_t) (colon - p) : len;
    value = colon ? colon + 1 : p + len;

    if (value < p + len && *value == ' ') {
        value++;
    }

    len = (size_t) (p + len - value);

    if (field == 5 && memcmp(p, "event", 5) == 0) {
        buffer_set(&r->name, value, len);

    } else if (field == 4 && memcmp(p, "data", 4) == 0) {
        buffer_add(&r->data, value, len);
        buffer_add(&r->data, "\n", 1);

    } else if (field == 2 && memcmp(p, "id", 2) == 0) {
        buffer_set(&r->id, value, len);

    } else {
        r->ignored++;
    }
}


static void
reader_feed(reader_t *r, const uint8_t *p, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {

        if (p[i] == '\n' && r->after_cr) {
            r->after_cr = 0;
            continue;
        }

        r->after_cr = (p[i] == '\r');

        if (p[i] == '\r' || p[i] == '\n') {
            reader_line(r);
            r->line.len = 0;
            continue;
        }

        buffer_add(&r->line, (const char *) p + i, 1);
    }
}


static void
reader_init(reader_t *r)
{
    r->line.len = 0;
    r->name.len = 0;
    r->data.len = 0;
    r->id.len = 0;
    r->after_cr = 0;
    r->dispatched = 0;
    r->ignored = 0;
}


static void
set(rtbus_str_t *str, const char *text, size_t len)
{
    str->len = len;
    str->data = len ? (uint8_t *) text : NULL;
}


/* into a block of exactly the announced size, so that ASan sees more */

static uint8_t *
event(const char *name, const char *data, size_t data_len, const char *id,
    size_t *len)
{
    size_t        written, end;
    uint8_t      *p;
    rtbus_str_t   n, d, i;

    set(&n, name, strlen(name));
    set(&d, data, data_len);
    set(&i, id, strlen(id));

    *len = rtbus_sse_write(NULL, &n, &d, &i, &end);

    p = malloc(*len);
    if (p == NULL) {
        abort();
    }

    memset(p, 0xaa, *len);

    written = rtbus_sse_write(p, &n, &d, &i, &end);

    if (written != *len) {
        is_int(written, *len, "announced length is the written one");
    }

    return p;
}


/* what a reader makes of line breaks: each kind becomes LF */

static size_t
normalise(char *dst, const char *src, size_t len)
{
    size_t  i, n;

    for (i = 0, n = 0; i < len; i++) {

        if (src[i] == '\r') {
            dst[n++] = '\n';

            if (i + 1 < len && src[i + 1] == '\n') {
                i++;
            }

            continue;
        }

        dst[n++] = src[i];
    }

    return n;
}


static int
read_back(const char *name, const char *data, size_t len, const char *id,
    size_t size)
{
    int        rc;
    char       expected[READER_MAX];
    size_t     n, total, pos, part;
    uint8_t   *p;
    reader_t   r;

    reader_init(&r);

    p = event(name, data, len, id, &total);

    for (pos = 0; pos < total; pos += part) {
        part = total - pos < size ? total - pos : size;

        if (r.dispatched) {
            /* the end of an event is its last byte, and not before */
            break;
        }

        reader_feed(&r, p + pos, part);
    }

    n = normalise(expected, data, len);

    rc = (pos == total
          && r.dispatched == 1
          && r.ignored == 0
          && r.line.len == 0
          && r.name.len == strlen(name)
          && memcmp(r.name.data, name, r.name.len) == 0
          && r.id.len == strlen(id)
          && memcmp(r.id.data, id, r.id.len) == 0
          && r.data.len == n
          && memcmp(r.data.data, expected, n) == 0);

    free(p);

    return rc;
}


#define is_event(name, data, id, literal, title)                              \
    do {                                                                      \
        size_t    len_;                                                       \
        uint8_t  *p_;                                                         \
                                                                              \
        p_ = event(name, data, sizeof(data) - 1, id, &len_);                  \
        is_mem(p_, len_, literal, title);                                     \
        free(p_);                                                             \
    } while (0)


static void
test_bytes(void)
{
    is_event("job", "{\"a\":1}", "12-0",
             "event: job\nid: 12-0\ndata: {\"a\":1}\n\n", "all fields");
    is_event("", "x", "12-0", "id: 12-0\ndata: x\n\n", "no name");
    is_event("job", "x", "", "event: job\ndata: x\n\n", "no id");
    is_event("", "x", "", "data: x\n\n", "data only");
    is_event("job", "", "1", "event: job\nid: 1\ndata: \n\n", "empty data");
    is_event("", "", "", "data: \n\n", "nothing at all");

    is_event("", "a\nb", "", "data: a\ndata: b\n\n", "LF");
    is_event("", "a\rb", "", "data: a\ndata: b\n\n", "CR");
    is_event("", "a\r\nb", "", "data: a\ndata: b\n\n", "CRLF is one break");
    is_event("", "a\n\rb", "", "data: a\ndata: \ndata: b\n\n",
             "LF CR is two breaks");
    is_event("", "a\r\r\nb", "", "data: a\ndata: \ndata: b\n\n",
             "CR CRLF is two breaks");
    is_event("", "a\n", "", "data: a\ndata: \n\n", "LF at the end");
    is_event("", "a\r", "", "data: a\ndata: \n\n", "CR at the end");
    is_event("", "a\r\n", "", "data: a\ndata: \n\n", "CRLF at the end");
    is_event("", "\na", "", "data: \ndata: a\n\n", "LF at the start");
    is_event("", "\n", "", "data: \ndata: \n\n", "LF alone");
    is_event("", "\n\n", "", "data: \ndata: \ndata: \n\n", "two LF alone");

    is_event("", " x", "", "data:  x\n\n", "space at the start is kept");
    is_event("", "id: 7\n\nevent: no", "1",
             "id: 1\ndata: id: 7\ndata: \ndata: event: no\n\n",
             "data cannot forge a field");
    is_event("", "a\0b", "", "data: a\0b\n\n", "zero byte in data");
    is_event("", "\xe2\x82\xac", "", "data: \xe2\x82\xac\n\n", "UTF-8");
}


static void
test_canary(void)
{
    size_t       len, end;
    uint8_t      block[64];
    rtbus_str_t  name, data, id;

    set(&name, "n", 1);
    set(&data, "a\r\nb", 4);
    set(&id, "5", 1);

    memset(block, 0xaa, sizeof(block));

    len = rtbus_sse_write(block + 8, &name, &data, &id, &end);

    is_mem(block + 8, len, "event: n\nid: 5\ndata: a\ndata: b\n\n",
           "into the middle of a buffer");
    is_mem(block, 8, "\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa", "nothing before it");
    is_int(block[8 + len], 0xaa, "nothing after it");
    is_mem(block + 8 + end - 1, 2, "5\n", "where the id ends");

    is_int(rtbus_sse_write(NULL, &name, &data, &id, &end), len,
           "length with NULL");

    id.len = 0;

    rtbus_sse_write(NULL, &name, &data, &id, &end);
    is_int(end, 0, "there is no id");
}


static void
test_reads(void)
{
    int     good;
    size_t  size;

    static const char  data[] = "{\n  \"job\": 1,\r\n  \"x\": \" y\"\r}\n";

    for (size = 1; size <= 31; size++) {
        good = read_back("job", data, sizeof(data) - 1, "1722-3", size);
        ok(good, "read back, reads of %zu", size);
    }

    good = read_back("job", data, sizeof(data) - 1, "1722-3", READER_MAX);
    ok(good, "read back, whole");
}


static void
test_exhaustive(void)
{
    int     i, len, left;
    char    data[8];
    long    bad, n, count;

    static const char  letters[] = { '\r', '\n', ' ', ':', 'a' };

    bad = 0;
    count = 1;

    for (len = 0; len <= 7; len++, count *= 5) {
        for (n = 0; n < count; n++) {
            left = (int) n;

            for (i = 0; i < len; i++, left /= 5) {
                data[i] = letters[left % 5];
            }

            bad += !read_back("e", data, (size_t) len, "1", READER_MAX);
            bad += !read_back("", data, (size_t) len, "", READER_MAX);
        }
    }

    is_int(bad, 0, "all data of up to 7 of CR, LF, space, colon, letter");
}


int
main(void)
{
    test_bytes();
    test_canary();
    test_reads();
    test_exhaustive();

    return done_testing();
}
