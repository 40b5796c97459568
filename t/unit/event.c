
/*
 * rtbus_event: the envelope of a job event, its slices byte for byte, and each
 * reason for which one is refused.
 */


#include <stdlib.h>

#include "unit.h"
#include "rtbus_event.h"


#define is_reason(reason, text, ...)                                          \
    ok(strcmp(rtbus_reason_text(reason), text) == 0, __VA_ARGS__)


#define T(s)  s, sizeof(s) - 1

#define CHARS_16   "0123456789abcdef"
#define CHARS_128  CHARS_16 CHARS_16 CHARS_16 CHARS_16                        \
                   CHARS_16 CHARS_16 CHARS_16 CHARS_16

#define NO_NAME        "no event name"
#define NAME_TYPE      "event name is not a string"
#define NAME_LONG      "event name too long"
#define NAME_CONTROL   "control character in event name"
#define BAD_ID         "bad id"
#define BAD_TIMESTAMP  "bad timestamp"
#define BAD_ARGS       "args is not an array"
#define BAD_ATTACH     "attachments is not an array of strings"
#define BOTH           "both data and args"


typedef struct {
    const char  *text;
    size_t       len;
    const char  *name;
    const char  *name_json;
    const char  *data;
    const char  *args;
    const char  *attachments;
    uint64_t     epoch;
    uint64_t     seq;
    uint64_t     timestamp;
} good_t;


static const good_t  good[] = {

    { T("{\"event\":\"model:chunk:v1\",\"data\":{\"jobId\":\"42\",\"chunk\":"
        "\"Hel\",\"index\":1},\"id\":\"1732300000000-7\",\"timestamp\":"
        "1732300000123}"),
      "model:chunk:v1", "\"model:chunk:v1\"",
      "{\"jobId\":\"42\",\"chunk\":\"Hel\",\"index\":1}", "", "",
      1732300000000ULL, 7, 1732300000123ULL },

    { T("{\"event\":\"a\"}"), "a", "\"a\"", "", "", "", 0, 0, 0 },

    /* any order, white space, members that nobody knows */

    { T("\n { \"x\" : [ { \"event\" : 1 } ] , \"timestamp\" : 5 , \"id\" : "
        "\"1-2\" , \"data\" : [ 1 , 2 ] , \"event\" : \"a b\" } \n"),
      "a b", "\"a b\"", "[ 1 , 2 ]", "", "", 1, 2, 5 },

    /* data is any JSON and comes out as it went in */

    { T("{\"event\":\"a\",\"data\":null}"), "a", "\"a\"", "null", "", "",
      0, 0, 0 },
    { T("{\"event\":\"a\",\"data\":null,\"id\":null,\"timestamp\":null,\"args\":null,"
        "\"attachments\":null}"), "a", "\"a\"", "null", "", "",
      0, 0, 0 },
    { T("{\"event\":\"a\",\"args\":[],\"data\":null}"), "a", "\"a\"", "", "[]", "",
      0, 0, 0 },
    { T("{\"event\":\"a\",\"data\":false}"), "a", "\"a\"", "false", "", "",
      0, 0, 0 },
    { T("{\"event\":\"a\",\"data\":-1.50E+03 }"), "a", "\"a\"", "-1.50E+03",
      "", "", 0, 0, 0 },
    { T("{\"event\":\"a\",\"data\":123456789012345678901234567890}"),
      "a", "\"a\"", "123456789012345678901234567890", "", "", 0, 0, 0 },
    { T("{\"event\":\"a\",\"data\":\"\\u00e9\\/\\ud800\"}"), "a", "\"a\"",
      "\"\\u00e9\\/\\ud800\"", "", "", 0, 0, 0 },
    { T("{\"event\":\"a\",\"data\":\"\"}"), "a", "\"a\"", "\"\"", "", "",
      0, 0, 0 },
    { T("{\"event\":\"a\",\"data\":{\"event\":\"b\",\"id\":7,\"args\":0}}"),
      "a", "\"a\"", "{\"event\":\"b\",\"id\":7,\"args\":0}", "", "", 0, 0, 0 },

    /* args and attachments */

    { T("{\"event\":\"a\",\"args\":[]}"), "a", "\"a\"", "", "[]", "",
      0, 0, 0 },
    { T("{\"event\":\"a\",\"args\":[1, {\"b\":2}]}"), "a", "\"a\"", "",
      "[1, {\"b\":2}]", "", 0, 0, 0 },
    { T("{\"event\":\"a\",\"data\":{\"_placeholder\":true,\"num\":0},"
        "\"attachments\":[\"AAEC\"]}"),
      "a", "\"a\"", "{\"_placeholder\":true,\"num\":0}", "", "[\"AAEC\"]",
      0, 0, 0 },
    { T("{\"event\":\"a\",\"attachments\":[]}"), "a", "\"a\"", "", "", "[]",
      0, 0, 0 },
    { T("{\"event\":\"a\",\"args\":[0],\"attachments\":[ \"\" , \"AA==\" ]}"),
      "a", "\"a\"", "", "[0]", "[ \"\" , \"AA==\" ]", 0, 0, 0 },

    /* the last of two members counts */

    { T("{\"event\":1,\"event\":\"a\",\"data\":1,\"data\":2}"), "a", "\"a\"",
      "2", "", "", 0, 0, 0 },

    /* names */

    { T("{\"event\":\"\\u0061\\/\\\"\\\\\"}"), "a/\"\\",
      "\"\\u0061\\/\\\"\\\\\"", "", "", "", 0, 0, 0 },
    { T("{\"\\u0065vent\":\"a\"}"), "a", "\"a\"", "", "", "", 0, 0, 0 },
    { T("{\"event\":\"\xc3\xa9\"}"), "\xc3\xa9", "\"\xc3\xa9\"", "", "", "",
      0, 0, 0 },
    { T("{\"event\":\"\\ud83d\\ude00\"}"), "\xf0\x9f\x98\x80",
      "\"\\ud83d\\ude00\"", "", "", "", 0, 0, 0 },
    { T("{\"event\":\"\\ud83d\"}"), "\xef\xbf\xbd", "\"\\ud83d\"", "", "", "",
      0, 0, 0 },
    { T("{\"event\":\" \"}"), " ", "\" \"", "", "", "", 0, 0, 0 },
    { T("{\"event\":\"@connect\"}"), "@connect", "\"@connect\"", "", "", "",
      0, 0, 0 },
    { T("{\"event\":\"" CHARS_128 "\"}"), CHARS_128, "\"" CHARS_128 "\"",
      "", "", "", 0, 0, 0 },
    { T("{\"event\":\"\\u0030123456789abcdef" CHARS_16 CHARS_16 CHARS_16
        CHARS_16 CHARS_16 CHARS_16 CHARS_16 "\"}"), CHARS_128,
      "\"\\u0030123456789abcdef" CHARS_16 CHARS_16 CHARS_16 CHARS_16 CHARS_16
      CHARS_16 CHARS_16 "\"", "", "", "", 0, 0, 0 },

    /* positions and times */

    { T("{\"event\":\"a\",\"id\":\"1-0\"}"), "a", "\"a\"", "", "", "",
      1, 0, 0 },
    { T("{\"event\":\"a\",\"id\":\"0-1\"}"), "a", "\"a\"", "", "", "",
      0, 1, 0 },
    { T("{\"event\":\"a\",\"id\":\"18446744073709551615-18446744073709551615"
        "\"}"), "a", "\"a\"", "", "", "", UINT64_MAX, UINT64_MAX, 0 },
    { T("{\"event\":\"a\",\"id\":\"\\u0031\\u002d2\"}"), "a", "\"a\"", "", "",
      "", 1, 2, 0 },
    { T("{\"event\":\"a\",\"timestamp\":0}"), "a", "\"a\"", "", "", "",
      0, 0, 0 },
    { T("{\"event\":\"a\",\"timestamp\":18446744073709551615}"), "a", "\"a\"",
      "", "", "", 0, 0, UINT64_MAX },
    { T("{\"event\":\"a\",\"timestamp\":1732300000123.75}"), "a", "\"a\"",
      "", "", "", 0, 0, 1732300000123ULL },
};


static const struct {
    const char  *text;
    size_t       len;
    const char  *reason;
} bad[] = {

    { T(""), "not JSON" },
    { T("{"), "not JSON" },
    { T("{\"event\":\"a\"}}"), "not JSON" },
    { T("{\"event\":\"a\"} {\"event\":\"b\"}"), "not JSON" },
    { T("{\"event\":\"a\",}"), "not JSON" },
    { T("{\"event\":\"a\",\"data\":01}"), "not JSON" },
    { T("{\"event\":\"a\",\"x\":NaN}"), "not JSON" },
    { T("{\"event\":\"a\n\"}"), "not JSON" },
    { T("\xef\xbb\xbf{\"event\":\"a\"}"), "not JSON" },
    { T("event"), "not JSON" },

    { T("{\"event\":\"\xff\"}"), "bad UTF-8" },
    { T("{\"event\":\"a\",\"data\":\"\xed\xa0\x80\"}"), "bad UTF-8" },
    { T("{\"event\":\"a\",\"\xc0\xaf\":1}"), "bad UTF-8" },

    { T("[]"), "not an object" },
    { T("[{\"event\":\"a\"}]"), "not an object" },
    { T("\"event\""), "not an object" },
    { T("null"), "not an object" },
    { T("42"), "not an object" },

    { T("{}"), NO_NAME },
    { T("{\"data\":1}"), NO_NAME },
    { T("{\"Event\":\"a\"}"), NO_NAME },
    { T("{\"data\":{\"event\":\"a\"}}"), NO_NAME },
    { T("{\"event\":\"\"}"), NO_NAME },

    { T("{\"event\":null}"), NAME_TYPE },
    { T("{\"event\":\"connect\"}"), "reserved event name" },
    { T("{\"event\":\"connect_error\"}"), "reserved event name" },
    { T("{\"event\":\"disconnect\"}"), "reserved event name" },
    { T("{\"event\":\"disconnecting\"}"), "reserved event name" },
    { T("{\"event\":\"newListener\"}"), "reserved event name" },
    { T("{\"event\":\"removeListener\"}"), "reserved event name" },
    { T("{\"event\":\"disconn\\u0065ct\"}"), "reserved event name" },
    { T("{\"event\":1}"), NAME_TYPE },
    { T("{\"event\":true}"), NAME_TYPE },
    { T("{\"event\":[\"a\"]}"), NAME_TYPE },
    { T("{\"event\":{}}"), NAME_TYPE },
    { T("{\"event\":\"a\",\"event\":1}"), NAME_TYPE },

    { T("{\"event\":\"" CHARS_128 "x\"}"), NAME_LONG },
    { T("{\"event\":\"" CHARS_128 "\\u0078\"}"), NAME_LONG },
    { T("{\"event\":\"" CHARS_128 "\\n\"}"), NAME_LONG },
    { T("{\"event\":\"" CHARS_128 CHARS_128 CHARS_128 CHARS_128 "\\n\"}"),
      NAME_LONG },

    { T("{\"event\":\"a\\n\"}"), NAME_CONTROL },
    { T("{\"event\":\"\\r\"}"), NAME_CONTROL },
    { T("{\"event\":\"a\\tb\"}"), NAME_CONTROL },
    { T("{\"event\":\"\\u0000\"}"), NAME_CONTROL },
    { T("{\"event\":\"\\u001fa\"}"), NAME_CONTROL },
    { T("{\"event\":\"a\\u000a\"}"), NAME_CONTROL },
    { T("{\"event\":\"\\u007f\"}"), NAME_CONTROL },
    { T("{\"event\":\"a\x7f\"}"), NAME_CONTROL },

    { T("{\"event\":\"a\",\"id\":7}"), BAD_ID },
    { T("{\"event\":\"a\",\"id\":\"\"}"), BAD_ID },
    { T("{\"event\":\"a\",\"id\":\"7\"}"), BAD_ID },
    { T("{\"event\":\"a\",\"id\":\"1-01\"}"), BAD_ID },
    { T("{\"event\":\"a\",\"id\":\"1-2 \"}"), BAD_ID },
    { T("{\"event\":\"a\",\"id\":\"1-2\\n\"}"), BAD_ID },
    { T("{\"event\":\"a\",\"id\":\"0-0\"}"), BAD_ID },
    { T("{\"event\":\"a\",\"id\":\"1-18446744073709551616\"}"), BAD_ID },
    { T("{\"event\":\"a\",\"id\":\"\\u0031-" CHARS_128 "\"}"), BAD_ID },
    { T("{\"event\":\"a\",\"id\":[\"1-1\"]}"), BAD_ID },

    { T("{\"event\":\"a\",\"timestamp\":\"5\"}"), BAD_TIMESTAMP },
    { T("{\"event\":\"a\",\"timestamp\":true}"), BAD_TIMESTAMP },
    { T("{\"event\":\"a\",\"timestamp\":-1}"), BAD_TIMESTAMP },
    { T("{\"event\":\"a\",\"timestamp\":-0.5}"), BAD_TIMESTAMP },
    { T("{\"event\":\"a\",\"timestamp\":1e3}"), BAD_TIMESTAMP },
    { T("{\"event\":\"a\",\"timestamp\":1.5e3}"), BAD_TIMESTAMP },
    { T("{\"event\":\"a\",\"timestamp\":1.5E3}"), BAD_TIMESTAMP },
    { T("{\"event\":\"a\",\"timestamp\":18446744073709551616}"),
      BAD_TIMESTAMP },
    { T("{\"event\":\"a\",\"timestamp\":{}}"), BAD_TIMESTAMP },
    { T("{\"event\":\"a\",\"timestamp\":[1.5]}"), BAD_TIMESTAMP },

    { T("{\"event\":\"a\",\"args\":{}}"), BAD_ARGS },
    { T("{\"event\":\"a\",\"args\":\"[]\"}"), BAD_ARGS },
    { T("{\"event\":\"a\",\"data\":1,\"args\":2}"), BAD_ARGS },

    { T("{\"event\":\"a\",\"attachments\":\"AAEC\"}"), BAD_ATTACH },
    { T("{\"event\":\"a\",\"attachments\":{}}"), BAD_ATTACH },
    { T("{\"event\":\"a\",\"attachments\":[1]}"), BAD_ATTACH },
    { T("{\"event\":\"a\",\"attachments\":[\"AAEC\",null]}"), BAD_ATTACH },
    { T("{\"event\":\"a\",\"attachments\":[[\"AAEC\"]]}"), BAD_ATTACH },
    { T("{\"event\":\"a\",\"attachments\":[\"AA_C\"]}"),
      "attachment is not base64" },
    { T("{\"event\":\"a\",\"args\":[{\"_placeholder\":true,\"num\":1}],"
        "\"attachments\":[\"AAEC\"]}"), "bad placeholder" },

    { T("{\"event\":\"a\",\"data\":1,\"args\":[1]}"), BOTH },
};


static rtbus_json_t  *json;


/* a block of the exact size: AddressSanitizer sees a read behind the end */

static uint8_t *
copy(const char *text, size_t len)
{
    uint8_t  *p;

    p = malloc(len ? len : 1);
    if (p == NULL) {
        exit(2);
    }

    memcpy(p, text, len);

    return p;
}


static int
slice_is(const rtbus_str_t *slice, const char *text)
{
    return slice->len == strlen(text)
           && (slice->len == 0 || memcmp(slice->data, text, slice->len) == 0);
}


static int
within(const rtbus_str_t *slice, const uint8_t *p, size_t len)
{
    return slice->len == 0
           || (slice->data >= p && slice->data + slice->len <= p + len);
}


static void
test_good(void)
{
    int             rc;
    size_t          i;
    uint8_t        *p;
    rtbus_reason_e  reason;
    const good_t   *g;
    rtbus_event_t   ev;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        g = &good[i];

        /* what is absent must not be left from before */

        memset(&ev, 0xa5, sizeof(rtbus_event_t));

        p = copy(g->text, g->len);
        rc = rtbus_event_parse(json, &ev, p, g->len, &reason);

        if (!ok(rc == RTBUS_OK, "good %zu", i)) {
            printf("# %s\n", rtbus_reason_text(reason));
            free(p);
            continue;
        }

        ok(slice_is(&ev.name, g->name), "good %zu: name", i);
        ok(slice_is(&ev.name_json, g->name_json), "good %zu: name_json", i);
        ok(slice_is(&ev.data, g->data), "good %zu: data", i);
        ok(slice_is(&ev.args, g->args), "good %zu: args", i);
        ok(slice_is(&ev.attachments, g->attachments), "good %zu: attachments",
           i);
        ok(ev.pos.epoch == g->epoch && ev.pos.seq == g->seq, "good %zu: id",
           i);
        ok(ev.timestamp == g->timestamp, "good %zu: timestamp", i);

        ok((within(&ev.name, p, g->len) || ev.name.data == ev.name_buf)
           && within(&ev.name_json, p, g->len) && within(&ev.data, p, g->len)
           && within(&ev.args, p, g->len)
           && within(&ev.attachments, p, g->len), "good %zu: slices", i);

        free(p);
    }
}


static void
test_bad(void)
{
    int             rc;
    size_t          i;
    uint8_t        *p;
    rtbus_reason_e  reason;
    rtbus_event_t   ev;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        reason = RTBUS_REASON_NONE;

        p = copy(bad[i].text, bad[i].len);
        rc = rtbus_event_parse(json, &ev, p, bad[i].len, &reason);
        free(p);

        if (!ok(rc == RTBUS_ERROR
                && strcmp(rtbus_reason_text(reason), bad[i].reason) == 0,
                "bad %zu: %s", i, bad[i].reason))
        {
            printf("# %s\n", rtbus_reason_text(reason));
        }

        /* good ones and bad ones come over the same connection */

        p = copy(good[0].text, good[0].len);
        rc = rtbus_event_parse(json, &ev, p, good[0].len, &reason);

        if (rc != RTBUS_OK || !slice_is(&ev.name, good[0].name)) {
            ok(0, "a good one after bad %zu", i);
        }

        free(p);
    }
}


static void
test_depth(void)
{
    size_t          i, n, len;
    char            buf[256];
    rtbus_reason_e  reason;
    rtbus_event_t   ev;

    for (i = 0; i < 2; i++) {

        /* the envelope itself is one level */

        n = RTBUS_EVENT_DEPTH - 1 + i;

        len = snprintf(buf, sizeof(buf), "{\"event\":\"a\",\"data\":");
        memset(buf + len, '[', n);
        memset(buf + len + n, ']', n);
        len += 2 * n;
        buf[len++] = '}';

        reason = RTBUS_REASON_NONE;

        is_int(rtbus_event_parse(json, &ev, (uint8_t *) buf, len, &reason),
               i ? RTBUS_ERROR : RTBUS_OK, "%zu levels", n + 1);
    }

    is_reason(reason, "nested too deep", "reason");
}


/* each byte at each place of a name, beside words of eight bytes */

static void
test_name_bytes(void)
{
    int             rc;
    char            text[48];
    size_t          i, j, n, len, wrong;
    uint8_t        *p;
    rtbus_reason_e  reason;
    rtbus_event_t   ev;

    static const char  xs[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    static const char  head[] = "{\"event\":\"";

    wrong = 0;

    for (len = 1; len < 28; len++) {
        for (i = 0; i < len; i++) {
            for (j = 0x20; j < 0x80; j++) {

                if (j == '"' || j == '\\') {
                    continue;
                }

                n = (size_t) snprintf(text, sizeof(text), "%s%.*s%c%.*s\"}",
                                      head, (int) i, xs, (int) j,
                                      (int) (len - i - 1), xs);

                p = copy(text, n);
                rc = rtbus_event_parse(json, &ev, p, n, &reason);

                if (j == 0x7f) {
                    wrong += (rc != RTBUS_ERROR
                              || strcmp(rtbus_reason_text(reason), NAME_CONTROL) != 0);

                } else {
                    wrong += (rc != RTBUS_OK || ev.name.len != len
                              || ev.name.data != p + sizeof(head) - 1);
                }

                free(p);
            }

            /* an escape of one character */

            n = (size_t) snprintf(text, sizeof(text), "%s%.*s\\/%.*s\"}",
                                  head, (int) i, xs, (int) (len - i - 1), xs);

            p = copy(text, n);
            rc = rtbus_event_parse(json, &ev, p, n, &reason);

            wrong += (rc != RTBUS_OK || ev.name.data != ev.name_buf
                      || ev.name.len != len || ev.name.data[i] != '/');

            free(p);
        }
    }

    is_int(wrong, 0, "each byte at each place of a name");
}


static void
test_name(void)
{
    rtbus_reason_e  reason;
    rtbus_str_t     raw;
    rtbus_event_t   ev;

    test_name_bytes();

    raw.data = (uint8_t *) "\"ab\"tail";
    raw.len = 4;

    is_int(rtbus_event_name(&ev, &raw, &reason), RTBUS_OK, "a name alone");
    is_mem(ev.name.data, ev.name.len, "ab", "name");
    ok(ev.name.data == raw.data + 1, "in the input");
    is_mem(ev.name_json.data, ev.name_json.len, "\"ab\"", "name_json");

    raw.data = (uint8_t *) "\"\\u0061b\"";
    raw.len = 9;

    is_int(rtbus_event_name(&ev, &raw, &reason), RTBUS_OK, "with an escape");
    is_mem(ev.name.data, ev.name.len, "ab", "name");
    ok(ev.name.data == ev.name_buf, "in name_buf");
    is_mem(ev.name_json.data, ev.name_json.len, "\"\\u0061b\"", "name_json");

    raw.data = (uint8_t *) "\"\\n\"";
    raw.len = 4;

    is_int(rtbus_event_name(&ev, &raw, &reason), RTBUS_ERROR, "a line feed");
    is_reason(reason, NAME_CONTROL, "reason");

    raw.data = (uint8_t *) "[]";
    raw.len = 2;

    is_int(rtbus_event_name(&ev, &raw, &reason), RTBUS_ERROR, "an array");
    is_reason(reason, NAME_TYPE, "reason");

    raw.data = NULL;
    raw.len = 0;

    is_int(rtbus_event_name(&ev, &raw, &reason), RTBUS_ERROR, "nothing");
    is_reason(reason, NO_NAME, "reason");
}


/* of jobs; of a live event they are members that nobody knows */

static void
job_marks(void)
{
    rtbus_reason_e  reason;
    rtbus_event_t   ev;

    static const char  durable[] =
        "{\"event\":\"e\",\"data\":\"[DONE]\",\"id\":\"1-2\",\"text\":1,"
        "\"name\":\"n\",\"end\":\"failed\",\"capture\":\"ui\"}";
    static const char  live[] =
        "{\"event\":\"e\",\"data\":\"x\",\"text\":1,\"name\":\"n\","
        "\"end\":\"failed\",\"capture\":\"ui\"}";
    static const char  other[] =
        "{\"event\":\"e\",\"data\":{},\"id\":\"1-2\",\"text\":1,\"name\":[],"
        "\"end\":null,\"capture\":{}}";

    ok(rtbus_event_parse(json, &ev, (const uint8_t *) durable,
                         sizeof(durable) - 1, &reason) == RTBUS_OK, "durable");
    ok(ev.text, "stands for text");
    is_mem(ev.source.data, ev.source.len, "\"n\"", "name of the source");
    is_mem(ev.end.data, ev.end.len, "\"failed\"", "end");
    is_mem(ev.capture.data, ev.capture.len, "\"ui\"", "format");

    ok(rtbus_event_parse(json, &ev, (const uint8_t *) live, sizeof(live) - 1,
                         &reason) == RTBUS_OK, "live");
    ok(!ev.text && ev.source.data == NULL && ev.end.data == NULL
       && ev.capture.data == NULL, "live, no marks");

    ok(rtbus_event_parse(json, &ev, (const uint8_t *) other,
                         sizeof(other) - 1, &reason) == RTBUS_OK, "other types");
    ok(!ev.text && ev.source.data == NULL && ev.end.data == NULL
       && ev.capture.data == NULL, "other types, no marks");
}


int
main(void)
{
    json = rtbus_json_create(RTBUS_EVENT_DEPTH);
    if (json == NULL) {
        return 2;
    }

    test_good();
    test_bad();
    test_depth();
    test_name();
    job_marks();

    rtbus_json_destroy(json);

    return done_testing();
}
