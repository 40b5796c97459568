
/*
 * rtbus_json: what is JSON and what is not, slices, escapes, quoting, and one
 * handle used for text after text, good and bad.  yajl is the judge of what
 * the tables here do not say.
 *
 * Texts are parsed in blocks of their exact size, so that AddressSanitizer
 * sees a read behind the end.
 */


#include <stdlib.h>

#include "unit.h"
#include "rtbus_json.h"
#include "rtbus_utf8.h"
#include "json_yajl.h"


#define is_reason(reason, text, ...)                                          \
    ok(strcmp(rtbus_reason_text(reason), text) == 0, __VA_ARGS__)


#define T(s)  s, sizeof(s) - 1

#define NOT_JSON  "not JSON"
#define BAD_UTF8  "bad UTF-8"
#define TOO_DEEP  "nested too deep"


typedef struct {
    const char         *text;
    size_t              len;
    rtbus_json_type_e   type;
    const char         *raw;       /* NULL: the whole text */
} valid_t;


typedef struct {
    const char         *text;
    size_t              len;
    const char         *reason;
} invalid_t;


typedef struct {
    const char         *raw;
    size_t              raw_len;
    const char         *text;
    size_t              text_len;
} pair_t;


static const valid_t  valid[] = {

    { T("null"), RTBUS_JSON_NULL, NULL },
    { T("true"), RTBUS_JSON_BOOL, NULL },
    { T("false"), RTBUS_JSON_BOOL, NULL },

    { T("0"), RTBUS_JSON_NUMBER, NULL },
    { T("-0"), RTBUS_JSON_NUMBER, NULL },
    { T("7"), RTBUS_JSON_NUMBER, NULL },
    { T("-12"), RTBUS_JSON_NUMBER, NULL },
    { T("1.5"), RTBUS_JSON_NUMBER, NULL },
    { T("-0.0"), RTBUS_JSON_NUMBER, NULL },
    { T("0e0"), RTBUS_JSON_NUMBER, NULL },
    { T("1E+2"), RTBUS_JSON_NUMBER, NULL },
    { T("1e-02"), RTBUS_JSON_NUMBER, NULL },
    { T("12.34e56"), RTBUS_JSON_NUMBER, NULL },
    { T("1e999999999999"), RTBUS_JSON_NUMBER, NULL },
    { T("-1e-999999999999"), RTBUS_JSON_NUMBER, NULL },
    { T("9223372036854775808"), RTBUS_JSON_NUMBER, NULL },
    { T("123456789012345678901234567890"), RTBUS_JSON_NUMBER, NULL },
    { T("0.00000000000000000000000000000000000000001"), RTBUS_JSON_NUMBER,
      NULL },

    { T("\"\""), RTBUS_JSON_STRING, NULL },
    { T("\" \""), RTBUS_JSON_STRING, NULL },
    { T("\"a b\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\\"\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\\\\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\\\\\\"\\\\\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\/\\b\\f\\n\\r\\t\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\u0000\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\u00e9\\uFFFF\\uabCD\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\ud83d\\ude00\""), RTBUS_JSON_STRING, NULL },
    { T("\"\x7f\""), RTBUS_JSON_STRING, NULL },
    { T("\"/* */ // # '\""), RTBUS_JSON_STRING, NULL },
    { T("\"[]{}:,\""), RTBUS_JSON_STRING, NULL },
    { T("\"\xc2\x80\xdf\xbf\""), RTBUS_JSON_STRING, NULL },
    { T("\"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\""), RTBUS_JSON_STRING,
      NULL },
    { T("\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""), RTBUS_JSON_STRING, NULL },
    { T("\"\xef\xbb\xbf\xef\xbf\xbe\xe2\x80\xa8\""), RTBUS_JSON_STRING,
      NULL },

    /* the escapes are good, the surrogates are not: RFC 8259 section 8.2 */

    { T("\"\\ud800\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\udfff\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\ud800\\\\x\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\ud800\\\\u\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\ud800\\\\uzzzz\""), RTBUS_JSON_STRING, NULL },
    { T("\"\\ud800\\ud800\\n\""), RTBUS_JSON_STRING, NULL },
    { T("{\"\\ud800\\\\\":\"\\ud800\\\\\"}"), RTBUS_JSON_OBJECT, NULL },

    { T("[]"), RTBUS_JSON_ARRAY, NULL },
    { T("[ ]"), RTBUS_JSON_ARRAY, NULL },
    { T("[1]"), RTBUS_JSON_ARRAY, NULL },
    { T("[[],[[]]]"), RTBUS_JSON_ARRAY, NULL },
    { T("[null,1,\"2\",{},[],true]"), RTBUS_JSON_ARRAY, NULL },
    { T("[ 1 ,\t2\n,\r3 ]"), RTBUS_JSON_ARRAY, NULL },
    { T("[\"]\",\"}\"]"), RTBUS_JSON_ARRAY, NULL },
    { T("{}"), RTBUS_JSON_OBJECT, NULL },
    { T("{ }"), RTBUS_JSON_OBJECT, NULL },
    { T("{\"\":0}"), RTBUS_JSON_OBJECT, NULL },
    { T("{\"a\":1,\"a\":2}"), RTBUS_JSON_OBJECT, NULL },
    { T("{\"a\\u0000b\":{}}"), RTBUS_JSON_OBJECT, NULL },
    { T("{ \"a\" : [ ] , \"b\" : { } }"), RTBUS_JSON_OBJECT, NULL },

    { T(" 1"), RTBUS_JSON_NUMBER, "1" },
    { T("1 "), RTBUS_JSON_NUMBER, "1" },
    { T("\t\n\r null \r\n\t"), RTBUS_JSON_NULL, "null" },
    { T(" \" \" "), RTBUS_JSON_STRING, "\" \"" },
    { T("\n{ } "), RTBUS_JSON_OBJECT, "{ }" },
    { T("    [ 1 ]\n"), RTBUS_JSON_ARRAY, "[ 1 ]" },
};


static const invalid_t  invalid[] = {

    { T(""), NOT_JSON },
    { T(" "), NOT_JSON },
    { T("\r\n\t "), NOT_JSON },

    /* one value, and nothing behind it */

    { T("1 2"), NOT_JSON },
    { T("{}{}"), NOT_JSON },
    { T("{} {}"), NOT_JSON },
    { T("{}[]"), NOT_JSON },
    { T("[]1"), NOT_JSON },
    { T("\"a\"\"b\""), NOT_JSON },
    { T("\"a\" \"b\""), NOT_JSON },
    { T("truefalse"), NOT_JSON },
    { T("true true"), NOT_JSON },
    { T("null0"), NOT_JSON },
    { T("12-3"), NOT_JSON },
    { T("{},"), NOT_JSON },
    { T("{}}"), NOT_JSON },
    { T("[]]"), NOT_JSON },
    { T("{} t"), NOT_JSON },
    { T("{} tru"), NOT_JSON },
    { T("{} 1"), NOT_JSON },
    { T("{} \""), NOT_JSON },
    { T("{} -"), NOT_JSON },
    { T("1,"), NOT_JSON },
    { T("\"a\":1"), NOT_JSON },

    /* literals */

    { T("n"), NOT_JSON },
    { T("nul"), NOT_JSON },
    { T("nulL"), NOT_JSON },
    { T("Null"), NOT_JSON },
    { T("True"), NOT_JSON },
    { T("tru"), NOT_JSON },
    { T("truee"), NOT_JSON },
    { T("fals"), NOT_JSON },
    { T("nulll"), NOT_JSON },
    { T("undefined"), NOT_JSON },
    { T("NaN"), NOT_JSON },
    { T("-NaN"), NOT_JSON },
    { T("Infinity"), NOT_JSON },
    { T("-Infinity"), NOT_JSON },
    { T("[nu]"), NOT_JSON },
    { T("[tru e]"), NOT_JSON },
    { T("a"), NOT_JSON },
    { T("*"), NOT_JSON },
    { T("'a'"), NOT_JSON },
    { T("{'a':1}"), NOT_JSON },
    { T("{a:1}"), NOT_JSON },

    /* numbers */

    { T("-"), NOT_JSON },
    { T("+1"), NOT_JSON },
    { T("--1"), NOT_JSON },
    { T("01"), NOT_JSON },
    { T("-01"), NOT_JSON },
    { T("00"), NOT_JSON },
    { T("1."), NOT_JSON },
    { T("1.e1"), NOT_JSON },
    { T(".5"), NOT_JSON },
    { T("-.5"), NOT_JSON },
    { T("1e"), NOT_JSON },
    { T("1e+"), NOT_JSON },
    { T("1e1.5"), NOT_JSON },
    { T("1.2.3"), NOT_JSON },
    { T("0x10"), NOT_JSON },
    { T("1_000"), NOT_JSON },
    { T("1a"), NOT_JSON },
    { T("0e"), NOT_JSON },
    { T("- 1"), NOT_JSON },
    { T("1 .5"), NOT_JSON },
    { T("[-]"), NOT_JSON },
    { T("[+1]"), NOT_JSON },
    { T("[01]"), NOT_JSON },
    { T("[-01]"), NOT_JSON },
    { T("[1.]"), NOT_JSON },
    { T("[.5]"), NOT_JSON },
    { T("[1e]"), NOT_JSON },
    { T("[1e-]"), NOT_JSON },
    { T("[1 000]"), NOT_JSON },
    { T("[1-2]"), NOT_JSON },
    { T("[\xef\xbc\x91]"), NOT_JSON },

    /* strings */

    { T("\""), NOT_JSON },
    { T("\"a"), NOT_JSON },
    { T("a\""), NOT_JSON },
    { T("\"\\"), NOT_JSON },
    { T("\"\\\""), NOT_JSON },
    { T("\"\\a\""), NOT_JSON },
    { T("\"\\x41\""), NOT_JSON },
    { T("\"\\'\""), NOT_JSON },
    { T("\"\\0\""), NOT_JSON },
    { T("\"\\U0041\""), NOT_JSON },
    { T("\"\\u\""), NOT_JSON },
    { T("\"\\u1\""), NOT_JSON },
    { T("\"\\u123\""), NOT_JSON },
    { T("\"\\u123g\""), NOT_JSON },
    { T("\"\\u 123\""), NOT_JSON },
    { T("\"\\u+123\""), NOT_JSON },
    { T("\"\\ud800\\u\""), NOT_JSON },
    { T("\"\\ud800\\u12\""), NOT_JSON },
    { T("\"\\ud800\\\""), NOT_JSON },
    { T("\"\\\n\""), NOT_JSON },
    { T("\"\0\""), NOT_JSON },
    { T("\"a\0b\""), NOT_JSON },
    { T("\"\t\""), NOT_JSON },
    { T("\"\n\""), NOT_JSON },
    { T("\"\r\""), NOT_JSON },
    { T("\"\x01\""), NOT_JSON },
    { T("\"\x1f\""), NOT_JSON },
    { T("\"\v\""), NOT_JSON },
    { T("\"\f\""), NOT_JSON },
    { T("\\u0031"), NOT_JSON },
    { T("[\\n]"), NOT_JSON },

    /* arrays */

    { T("["), NOT_JSON },
    { T("]"), NOT_JSON },
    { T("[1"), NOT_JSON },
    { T("[1,"), NOT_JSON },
    { T("[1,]"), NOT_JSON },
    { T("[,1]"), NOT_JSON },
    { T("[,]"), NOT_JSON },
    { T("[1,,2]"), NOT_JSON },
    { T("[1 2]"), NOT_JSON },
    { T("[1}"), NOT_JSON },
    { T("[1:2]"), NOT_JSON },
    { T("[\"a\""), NOT_JSON },
    { T("[\"a\":1]"), NOT_JSON },
    { T("[[]"), NOT_JSON },
    { T("[}"), NOT_JSON },

    /* objects */

    { T("{"), NOT_JSON },
    { T("}"), NOT_JSON },
    { T("{]"), NOT_JSON },
    { T("{\"a\""), NOT_JSON },
    { T("{\"a\"}"), NOT_JSON },
    { T("{\"a\":"), NOT_JSON },
    { T("{\"a\":}"), NOT_JSON },
    { T("{\"a\":1"), NOT_JSON },
    { T("{\"a\":1,"), NOT_JSON },
    { T("{\"a\":1,}"), NOT_JSON },
    { T("{,\"a\":1}"), NOT_JSON },
    { T("{\"a\":1,,\"b\":2}"), NOT_JSON },
    { T("{\"a\":1 \"b\":2}"), NOT_JSON },
    { T("{\"a\" 1}"), NOT_JSON },
    { T("{\"a\"::1}"), NOT_JSON },
    { T("{\"a\":1:2}"), NOT_JSON },
    { T("{\"a\",1}"), NOT_JSON },
    { T("{:1}"), NOT_JSON },
    { T("{1:1}"), NOT_JSON },
    { T("{null:1}"), NOT_JSON },
    { T("{[]:1}"), NOT_JSON },
    { T("{\"a\":1]"), NOT_JSON },
    { T("{\"a\\x\":1}"), NOT_JSON },
    { T("{\"a\":a}"), NOT_JSON },
    { T("{\"a\":1}/"), NOT_JSON },

    /* what other parsers let pass: comments, other spaces, a mark, zeros */

    { T("/**/1"), NOT_JSON },
    { T("1/**/"), NOT_JSON },
    { T("[1,/* a */2]"), NOT_JSON },
    { T("1 // a\n"), NOT_JSON },
    { T("{\"a\":1} # a"), NOT_JSON },
    { T("\v1"), NOT_JSON },
    { T("1\f"), NOT_JSON },
    { T("[\v1]"), NOT_JSON },
    { T("[1\f]"), NOT_JSON },
    { T("{\v}"), NOT_JSON },
    { T("[\xc2\xa0" "1]"), NOT_JSON },
    { T("\xe2\x81\xa0[]"), NOT_JSON },
    { T("\xef\xbb\xbf{}"), NOT_JSON },
    { T("{}\xef\xbb\xbf"), NOT_JSON },
    { T("\xef\xbb\xbf"), NOT_JSON },
    { T("\0"), NOT_JSON },
    { T("1\0"), NOT_JSON },
    { T("\0001"), NOT_JSON },
    { T("{}\0"), NOT_JSON },
    { T("[\0]"), NOT_JSON },
    { T("[1,\x01]"), NOT_JSON },
    { T("[\x7f]"), NOT_JSON },

    /* UTF-8: RFC 3629 section 3 */

    { T("\"\x80\""), BAD_UTF8 },
    { T("\"\xbf\""), BAD_UTF8 },
    { T("\"\xc2\""), BAD_UTF8 },
    { T("\"\xc0\xaf\""), BAD_UTF8 },
    { T("\"\xc1\xbf\""), BAD_UTF8 },
    { T("\"\xe0\x80\xaf\""), BAD_UTF8 },
    { T("\"\xe0\x9f\xbf\""), BAD_UTF8 },
    { T("\"\xe2\x82\""), BAD_UTF8 },
    { T("\"\xed\xa0\x80\""), BAD_UTF8 },
    { T("\"\xed\xbf\xbf\""), BAD_UTF8 },
    { T("\"\xf0\x8f\xbf\xbf\""), BAD_UTF8 },
    { T("\"\xf0\x9f\x98\""), BAD_UTF8 },
    { T("\"\xf4\x90\x80\x80\""), BAD_UTF8 },
    { T("\"\xf5\x80\x80\x80\""), BAD_UTF8 },
    { T("\"\xf8\x88\x80\x80\x80\""), BAD_UTF8 },
    { T("\"\xfe\""), BAD_UTF8 },
    { T("\"\xff\""), BAD_UTF8 },
    { T("{\"\xc0\x80\":1}"), BAD_UTF8 },
    { T("{\"a\":1}\xff"), BAD_UTF8 },
    { T("\xff\xfe{\0}\0"), BAD_UTF8 },
    { T("[1,\xe2\x82]"), BAD_UTF8 },
};


static const pair_t  unquoted[] = {
    { T("\"\""), T("") },
    { T("\"a\""), T("a") },
    { T("\"a b\""), T("a b") },
    { T("\"\\\"\\\\\\/\""), T("\"\\/") },
    { T("\"\\b\\f\\n\\r\\t\""), T("\b\f\n\r\t") },
    { T("\"\\\\n\""), T("\\n") },
    { T("\"\\\\\\n\""), T("\\\n") },
    { T("\"x\\ny\\nz\""), T("x\ny\nz") },
    { T("\"\\u0000\""), T("\0") },
    { T("\"\\u0041\\u007f\""), T("A\x7f") },
    { T("\"\\u00e9\\u00E9\""), T("\xc3\xa9\xc3\xa9") },
    { T("\"\\u0080\\u07ff\\u0800\\uffff\""),
      T("\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf") },
    { T("\"\\ud83d\\ude00\""), T("\xf0\x9f\x98\x80") },
    { T("\"\\uD800\\uDC00\\udbff\\udfff\""),
      T("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf") },
    { T("\"\xf0\x9f\x98\x80\\n\""), T("\xf0\x9f\x98\x80\n") },

    /* lone surrogates, and what stands behind them is not lost */

    { T("\"\\ud800\""), T("\xef\xbf\xbd") },
    { T("\"\\udc00\""), T("\xef\xbf\xbd") },
    { T("\"\\ud800x\""), T("\xef\xbf\xbdx") },
    { T("\"\\ud800\\n\""), T("\xef\xbf\xbd\n") },
    { T("\"\\ud800\\\\\""), T("\xef\xbf\xbd\\") },
    { T("\"\\ud800\\\\u0041\""), T("\xef\xbf\xbd\\u0041") },
    { T("\"\\ud800\\u0041\""), T("\xef\xbf\xbd" "A") },
    { T("\"\\ud800\\ud800\\udc00\""), T("\xef\xbf\xbd\xf0\x90\x80\x80") },
    { T("\"\\udc00\\ud800\""), T("\xef\xbf\xbd\xef\xbf\xbd") },
    { T("\"\\ud800\\ue000\""), T("\xef\xbf\xbd\xee\x80\x80") },
};


static const pair_t  quoted[] = {
    { T("\"\""), T("") },
    { T("\"a/b'\x7f\""), T("a/b'\x7f") },
    { T("\"\\\"\\\\\""), T("\"\\") },
    { T("\"\\b\\t\\n\\f\\r\""), T("\b\t\n\f\r") },
    { T("\"\\u0000\\u0001\\u000b\\u001f\""), T("\0\x01\v\x1f") },
    { T("\"x\\ny\""), T("x\ny") },
    { T("\"\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80\""),
      T("\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80") },

    /* not UTF-8: one replacement for each byte */

    { T("\"\xef\xbf\xbd\""), T("\x80") },
    { T("\"\xef\xbf\xbd\""), T("\xff") },
    { T("\"a\xef\xbf\xbdz\""), T("a\xffz") },
    { T("\"\xef\xbf\xbd\xef\xbf\xbd\""), T("\xc0\xaf") },
    { T("\"\xef\xbf\xbd\""), T("\xc3") },
    { T("\"\xef\xbf\xbd(\""), T("\xc3(") },
    { T("\"\xef\xbf\xbd\xef\xbf\xbd\""), T("\xe2\x82") },
    { T("\"\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9\""), T("\xe2\x82\xc3\xa9") },
    { T("\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""), T("\xed\xa0\x80") },
    { T("\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""),
      T("\xf4\x90\x80\x80") },
    { T("\"\xef\xbf\xbd\\n\""), T("\xf0\n") },
};


static const struct {
    const char  *raw;
    int          rc;
    uint64_t     n;
} uints[] = {
    { "0", RTBUS_OK, 0 },
    { "7", RTBUS_OK, 7 },
    { "1732300000123", RTBUS_OK, 1732300000123ULL },
    { "18446744073709551615", RTBUS_OK, UINT64_MAX },
    { "18446744073709551616", RTBUS_ERROR, 0 },
    { "18446744073709551620", RTBUS_ERROR, 0 },
    { "99999999999999999999", RTBUS_ERROR, 0 },
    { "100000000000000000000", RTBUS_ERROR, 0 },
    { "", RTBUS_ERROR, 0 },
    { "-0", RTBUS_ERROR, 0 },
    { "-1", RTBUS_ERROR, 0 },
    { "01", RTBUS_ERROR, 0 },
    { "1.0", RTBUS_ERROR, 0 },
    { "1e3", RTBUS_ERROR, 0 },
    { "\"1\"", RTBUS_ERROR, 0 },
    { "null", RTBUS_ERROR, 0 },
    { "[1]", RTBUS_ERROR, 0 },
};


#define DEPTH  64


static rtbus_json_t  *json;


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
check(const char *text, size_t len, rtbus_reason_e *reason)
{
    int                  rc;
    uint8_t             *p;
    rtbus_json_value_t   value;

    *reason = RTBUS_REASON_NONE;

    p = copy(text, len);
    rc = rtbus_json_value(json, p, len, &value, reason);
    free(p);

    return rc;
}


/* is the text judged as yajl does, and is it told where it is bad? */

static int
agrees(const uint8_t *p, size_t len)
{
    int                  rc;
    const char          *expected;
    rtbus_reason_e       reason;
    const uint8_t       *failed;
    rtbus_json_value_t   value;

    reason = RTBUS_REASON_NONE;

    rc = rtbus_json_value(json, p, len, &value, &reason);

    expected = judge_reason(p, len, DEPTH);
    failed = rtbus_json_failed(json);

    if (rc == RTBUS_OK) {
        return expected == NULL && failed == NULL;
    }

    return expected != NULL && strcmp(expected, rtbus_reason_text(reason)) == 0
           && judge_failed(p, len, DEPTH, failed,
                           rtbus_reason_text(reason));
}


static int
slice_is(const rtbus_str_t *raw, const char *text)
{
    return raw->len == strlen(text) && memcmp(raw->data, text, raw->len) == 0;
}


static void
test_valid(void)
{
    int                  rc;
    size_t               i;
    uint8_t             *p;
    rtbus_reason_e       reason;
    const valid_t       *v;
    rtbus_json_value_t   value;

    for (i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        v = &valid[i];

        p = copy(v->text, v->len);
        rc = rtbus_json_value(json, p, v->len, &value, &reason);

        ok(rc == RTBUS_OK && value.type == v->type
           && (v->raw ? slice_is(&value.raw, v->raw)
                      : value.raw.data == p && value.raw.len == v->len),
           "valid %zu", i);

        free(p);
    }
}


static void
test_invalid(void)
{
    int               rc;
    size_t            i;
    rtbus_reason_e    reason;
    const invalid_t  *v;

    for (i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        v = &invalid[i];

        rc = check(v->text, v->len, &reason);

        ok(rc == RTBUS_ERROR && reason && strcmp(rtbus_reason_text(reason), v->reason) == 0,
           "invalid %zu: %s", i, v->reason);

        /* the handle is none the worse for it */

        if (check(T("[1,{\"a\":\"b\"}]"), &reason) != RTBUS_OK) {
            ok(0, "a valid text after invalid %zu", i);
        }
    }
}


/* all tables, and a text that is spoiled by each byte at each place */

static void
test_yajl(void)
{
    size_t    i, j, n, bad;
    uint8_t  *p;

    static const char  *texts[] = {
        "{\"a\":[1,-2.5e3,true,null,\"\\u00e9\\\"\"],\"\\\\\":{\"\":\"\xf0\x9f"
        "\x98\x80 \xc3\xa9\xe2\x82\xac\"},\"1234567\\n89\":false}",
        " [ 0 , { \"abcdefgh\" : 10.01E+2 , \"abcdefghijklmno\" : [ ] } , "
        "{ } ] "
    };

    bad = 0;

    for (i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        p = copy(valid[i].text, valid[i].len);
        bad += !agrees(p, valid[i].len);
        free(p);
    }

    is_int(bad, 0, "yajl agrees on valid texts");

    bad = 0;

    for (i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        p = copy(invalid[i].text, invalid[i].len);
        bad += !agrees(p, invalid[i].len);
        free(p);
    }

    is_int(bad, 0, "yajl agrees on invalid texts");

    for (n = 0; n < sizeof(texts) / sizeof(texts[0]); n++) {
        bad = 0;

        for (i = 0; i < strlen(texts[n]); i++) {
            for (j = 0; j < 256; j++) {

                p = copy(texts[n], strlen(texts[n]));
                p[i] = (uint8_t) j;

                bad += !agrees(p, strlen(texts[n]));

                free(p);
            }

            p = copy(texts[n], i);
            bad += !agrees(p, i);
            free(p);
        }

        is_int(bad, 0, "yajl agrees on text %zu, spoiled and cut off", n);
    }
}


/* each byte at each place of a string, beside words of eight bytes */

static void
test_string(void)
{
    int                  rc, plain;
    size_t               i, j, len, bad;
    uint8_t             *p, text[40];
    rtbus_reason_e       reason;
    rtbus_json_value_t   value;

    bad = 0;

    for (len = 2; len < sizeof(text); len++) {
        for (i = 1; i < len - 1; i++) {
            for (j = 0; j < 256; j++) {
                memset(text, 'x', len);
                text[0] = '"';
                text[len - 1] = '"';
                text[i] = (uint8_t) j;

                p = copy((char *) text, len);
                rc = rtbus_json_value(json, p, len, &value, &reason);
                free(p);

                plain = (j >= 0x20 && j < 0x80 && j != '"' && j != '\\');

                bad += (rc == RTBUS_OK) != plain;
            }
        }
    }

    is_int(bad, 0, "each byte at each place of a string");
}


static void
test_failed(void)
{
    size_t               i;
    rtbus_reason_e       reason;
    rtbus_json_value_t   value;

    static const struct {
        const char  *text;
        size_t       len;
        size_t       at;
    } failed[] = {
        { T("{"), 1 },
        { T(" {\"a\" 1}"), 6 },
        { T("{\"a\":1,}"), 7 },
        { T("{\n\n\"a\":{}\n,\n}"), 12 },
        { T("{} {}"), 3 },
        { T("[1,tru]"), 3 },
        { T("[01]"), 2 },
        { T("[1.]"), 3 },
        { T("\"abc"), 4 },
        { T("\"abcdefgh\\x\""), 9 },
        { T("\"abc\tdefgh\""), 4 },
        { T("[\0]"), 1 },
    };

    for (i = 0; i < sizeof(failed) / sizeof(failed[0]); i++) {

        (void) rtbus_json_value(json, (uint8_t *) failed[i].text,
                                failed[i].len, &value, &reason);

        is_int(rtbus_json_failed(json) - (uint8_t *) failed[i].text,
               failed[i].at, "where text %zu ceases to be JSON", i);
    }

    (void) rtbus_json_value(json, (uint8_t *) "\"\xff\"", 3, &value, &reason);
    ok(rtbus_json_failed(json) == NULL, "not told of bad UTF-8");

    (void) rtbus_json_value(json, (uint8_t *) "[", 1, &value, &reason);
    (void) rtbus_json_value(json, (uint8_t *) " ", 1, &value, &reason);
    ok(rtbus_json_failed(json) == NULL, "nor of a text with nothing in it");
}


static void
test_reuse(void)
{
    size_t       i, j, bad;
    rtbus_reason_e  reason;

    bad = 0;

    for (i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        for (j = 0; j < sizeof(valid) / sizeof(valid[0]); j++) {

            if (check(invalid[i].text, invalid[i].len, &reason) != RTBUS_ERROR
                || strcmp(rtbus_reason_text(reason), invalid[i].reason) != 0)
            {
                bad++;
            }

            if (check(valid[j].text, valid[j].len, &reason) != RTBUS_OK) {
                bad++;
            }
        }
    }

    is_int(bad, 0, "each invalid text before each valid one");

    bad = 0;

    for (i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        for (j = 0; j < sizeof(valid) / sizeof(valid[0]); j++) {

            if (check(valid[i].text, valid[i].len, &reason) != RTBUS_OK
                || check(valid[j].text, valid[j].len, &reason) != RTBUS_OK)
            {
                bad++;
            }
        }
    }

    is_int(bad, 0, "each valid text before each other");
}


/* a text is cut off everywhere, and spoiled everywhere */

static void
test_spoiled(void)
{
    size_t       i, j, bad;
    char         buf[128];
    rtbus_reason_e  reason;

    static const char  text[] = "{\"a\":[1,-2.5e3,true,null,\"\\u00e9\\\"\"],"
                                "\"\\\\\":{\"\":\"\xf0\x9f\x98\x80\"}}";
    static const char  spoil[] = { '\0', '\v', '\f', '\x1f', '\xc0',
                                   '\xff' };

    is_int(check(T(text), &reason), RTBUS_OK, "the text as it is");

    bad = 0;

    for (i = 0; i < sizeof(text) - 1; i++) {
        if (check(text, i, &reason) != RTBUS_ERROR) {
            bad++;
        }
    }

    is_int(bad, 0, "the text cut off at each byte");

    bad = 0;

    for (i = 0; i < sizeof(text) - 1; i++) {
        for (j = 0; j < sizeof(spoil); j++) {
            memcpy(buf, text, sizeof(text));
            buf[i] = spoil[j];

            if (check(buf, sizeof(text) - 1, &reason) != RTBUS_ERROR) {
                bad++;
            }
        }
    }

    is_int(bad, 0, "the text spoiled at each byte");

    bad = 0;

    for (i = 0; i < sizeof(text) - 1; i++) {
        for (j = 0; j < 256; j++) {
            memcpy(buf, text, sizeof(text));
            buf[i] = (char) j;

            (void) check(buf, sizeof(text) - 1, &reason);

            if (check(T(text), &reason) != RTBUS_OK) {
                bad++;
            }
        }
    }

    is_int(bad, 0, "the text, after any byte of it was any other");
}


static void
test_depth(void)
{
    size_t         i, n;
    char          *p;
    rtbus_reason_e  reason;
    rtbus_json_t  *saved;

    saved = json;
    json = rtbus_json_create(3);

    is_int(check(T("[[[1]]]"), &reason), RTBUS_OK, "arrays, as deep as may be");
    is_int(check(T("{\"a\":{\"a\":{}}}"), &reason), RTBUS_OK,
           "objects, as deep as may be");
    is_int(check(T("[{},[[]],[],{\"a\":[]},{},[[],[],[]]]"), &reason),
           RTBUS_OK, "siblings add no depth");

    for (i = 0; i < 3; i++) {
        is_int(check(T("[[[[1]]]]"), &reason), RTBUS_ERROR,
               "arrays, one too many");
        is_reason(reason, TOO_DEEP, "reason");

        is_int(check(T("{\"a\":[{\"a\":{}}]}"), &reason), RTBUS_ERROR,
               "objects and arrays, one too many");
        is_reason(reason, TOO_DEEP, "reason");

        is_int(check(T("[[[1]]]"), &reason), RTBUS_OK, "depth starts anew");
        is_int(check(T("[[[1]]"), &reason), RTBUS_ERROR, "open arrays");
        is_int(check(T("[[[1]]]"), &reason), RTBUS_OK, "depth starts anew");
    }

    rtbus_json_destroy(json);
    json = rtbus_json_create(0);

    is_int(check(T("\"a\""), &reason), RTBUS_OK, "depth 0: a string");
    is_int(check(T("[]"), &reason), RTBUS_ERROR, "depth 0: an array");
    is_reason(reason, TOO_DEEP, "reason");
    is_int(check(T("{}"), &reason), RTBUS_ERROR, "depth 0: an object");
    is_int(check(T("1"), &reason), RTBUS_OK, "depth 0: a number");

    rtbus_json_destroy(json);
    json = rtbus_json_create(100000);

    n = 100000;
    p = malloc(2 * n + 2);
    if (p == NULL) {
        exit(2);
    }

    memset(p, '[', n + 1);
    memset(p + n + 1, ']', n + 1);

    is_int(check(p + 1, 2 * n, &reason), RTBUS_OK, "100000 arrays");
    is_int(check(p, 2 * n + 2, &reason), RTBUS_ERROR, "100001 arrays");
    is_reason(reason, TOO_DEEP, "reason");

    rtbus_json_destroy(json);
    json = saved;

    is_int(check(p, n, &reason), RTBUS_ERROR, "100000 open arrays");
    is_reason(reason, TOO_DEEP, "reason");

    free(p);
}


static void
test_large(void)
{
    int                  rc;
    size_t               i, n, size;
    char                *p;
    rtbus_reason_e       reason;
    rtbus_json_value_t   value;

    size = 2 * 1024 * 1024;

    p = malloc(size);
    if (p == NULL) {
        exit(2);
    }

    memset(p, 'x', size);
    p[0] = '"';
    p[size - 1] = '"';

    for (i = 0; i < 3; i++) {
        is_int(check(p, size, &reason), RTBUS_OK, "a string of 2 MB");
        is_int(check(p, size - 1, &reason), RTBUS_ERROR, "with no end");
    }

    for (i = 1; i + 2 < size; i += 2) {
        p[i] = '\\';
        p[i + 1] = '"';
    }

    is_int(check(p, size, &reason), RTBUS_OK, "2 MB of escaped quotes");
    is_int(check(p, size - 1, &reason), RTBUS_ERROR, "the last one, too");

    memset(p, '1', size);

    is_int(check(p, size, &reason), RTBUS_OK, "a number of 2 MB");

    p[0] = '[';

    for (i = 2; i < size; i += 2) {
        p[i] = ',';
    }

    p[size - 2] = ' ';
    p[size - 1] = ']';

    n = 1;
    rc = rtbus_json_array(json, (uint8_t *) p, size, &value, &n, &reason);

    ok(rc == RTBUS_OK && n == (size - 2) / 2, "an array of a million: %zu", n);
    ok(slice_is(&value.raw, "1"), "its first element");

    free(p);
}


static void
test_object(void)
{
    int                   rc;
    size_t                len;
    uint8_t              *p;
    rtbus_reason_e        reason;
    rtbus_json_member_t   m[] = {
        rtbus_json_member("event"),
        rtbus_json_member("data"),
        rtbus_json_member("id"),
        rtbus_json_member("absent"),
        rtbus_json_member("")
    };

    static const char  text[] = " { \"data\" : {\"event\":[1, 2],"
                                "\"id\":\"}\"} ,"
                                "\"eventual\":1,\"even\":2,\"Event\":3,"
                                "\"x\":\"event\", \"event\"\n:\t\"a\\\"]\" ,"
                                "\"\":null,\"id\":-1.5e3 } ";

    len = sizeof(text) - 1;
    p = copy(text, len);

    rc = rtbus_json_object(json, p, len, m, 5, &reason);

    is_int(rc, RTBUS_OK, "an object");
    ok(slice_is(&m[0].value.raw, "\"a\\\"]\""), "a string member");
    is_int(m[0].value.type, RTBUS_JSON_STRING, "its type");
    ok(slice_is(&m[1].value.raw, "{\"event\":[1, 2],\"id\":\"}\"}"),
       "an object member");
    is_int(m[1].value.type, RTBUS_JSON_OBJECT, "its type");
    ok(slice_is(&m[2].value.raw, "-1.5e3"), "a number member");
    is_int(m[2].value.type, RTBUS_JSON_NUMBER, "its type");
    is_int(m[3].value.type, RTBUS_JSON_NONE, "an absent member");
    is_int(m[3].value.raw.len, 0, "its length");
    ok(slice_is(&m[4].value.raw, "null"), "the member with the empty name");
    is_int(m[4].value.type, RTBUS_JSON_NULL, "its type");

    ok(m[1].value.raw.data == p + 12, "the slice is in the text");

    /* the same table for the next text: nothing is left of the last one */

    rc = rtbus_json_object(json, (uint8_t *) "{}", 2, m, 5, &reason);

    ok(rc == RTBUS_OK && m[0].value.type == RTBUS_JSON_NONE
       && m[1].value.raw.len == 0 && m[4].value.type == RTBUS_JSON_NONE,
       "an empty object");

    free(p);

#define object(text)                                                          \
    rtbus_json_object(json, (uint8_t *) text, sizeof(text) - 1, m, 5, &reason)

    ok(object("{\"id\":1,\"id\":\"2\",\"data\":0}") == RTBUS_OK
       && slice_is(&m[2].value.raw, "\"2\"")
       && m[2].value.type == RTBUS_JSON_STRING, "the last of two counts");

    ok(object("{\"id\":1,\"\\u0069\\u0064\":{}}") == RTBUS_OK
       && slice_is(&m[2].value.raw, "{}"), "the last of two, in escapes");

    ok(object("{\"\\u0065v\\u0065nt\":[0],\"i\\u0064\":true}") == RTBUS_OK
       && slice_is(&m[0].value.raw, "[0]")
       && slice_is(&m[2].value.raw, "true"), "names in escapes");

    ok(object("{\"\\u0065v\\u0065nts\":1,\"\\u0069\":1,\"id\\u0000\":1,"
              "\"\\\\id\":1,\"\\ud800\":1,\"\\\"id\\\"\":1}") == RTBUS_OK
       && m[0].value.type == RTBUS_JSON_NONE
       && m[2].value.type == RTBUS_JSON_NONE
       && m[4].value.type == RTBUS_JSON_NONE, "other names in escapes");

    ok(object("{\"id\":\"\\\\\",\"data\":\"\\\\\\\"\"}") == RTBUS_OK
       && slice_is(&m[2].value.raw, "\"\\\\\"")
       && slice_is(&m[1].value.raw, "\"\\\\\\\"\""), "backslashes at the end");

    ok(object("{\"id\":[[\"]\"],{\"a\":\"}\"}],\"data\":[]}") == RTBUS_OK
       && slice_is(&m[2].value.raw, "[[\"]\"],{\"a\":\"}\"}]")
       && slice_is(&m[1].value.raw, "[]"), "brackets in strings");

    ok(object("{\"id\":1\t,\"data\":2\n}") == RTBUS_OK
       && slice_is(&m[2].value.raw, "1")
       && slice_is(&m[1].value.raw, "2"), "white space behind numbers");

    ok(object("[1]") == RTBUS_ERROR && strcmp(rtbus_reason_text(reason), "not an object") == 0,
       "an array is no object");
    ok(object(" \"a\"") == RTBUS_ERROR && strcmp(rtbus_reason_text(reason), "not an object") == 0,
       "a string is no object");
    ok(object("{\"id\":1,\"data\":2,") == RTBUS_ERROR
       && strcmp(rtbus_reason_text(reason), NOT_JSON) == 0, "an open object");
    ok(m[1].value.type == RTBUS_JSON_NONE && m[2].value.type == RTBUS_JSON_NONE
       && m[2].value.raw.len == 0, "nothing is left of what it has");
    ok(object("{\"other\":01}") == RTBUS_ERROR && strcmp(rtbus_reason_text(reason), NOT_JSON) == 0,
       "a bad value nobody asked for");
    ok(rtbus_json_object(json, (uint8_t *) "{\"a\":1}", 7, NULL, 0, &reason)
       == RTBUS_OK, "no members asked for");

#undef object
}


static void
test_count(void)
{
    size_t       i;
    rtbus_str_t  raw;

    static const struct {
        const char  *text;
        const char  *name;
        size_t       n;
    } counts[] = {
        { "{}", "jobId", 0 },
        { "{\"jobId\":1}", "jobId", 1 },
        { "{\"jobId\":1,\"jobId\":2}", "jobId", 2 },
        { "{\"jobId\":1,\"JobID\":2,\"JOBID\":3}", "jobId", 3 },
        { "{\"jobid\":1}", "jobId", 1 },
        { "{\"job\":1,\"jobIds\":2,\"obId\":3,\"\":4}", "jobId", 0 },
        { "{\"x\":\"jobId\",\"jobId\":\"jobId\"}", "jobId", 1 },
        { "{\"x\":{\"jobId\":1},\"y\":[\"jobId\"]}", "jobId", 0 },
        { "{\"j\\u006fbId\":1,\"\\u004aobId\":2}", "jobId", 2 },
        { "{\"jobI\\u0064\":1,\"jobI\\\\u0064\":2}", "jobId", 1 },
        { "{\"ta\\u017f\\u212aId\":1,\"ta\xc5\xbf\xe2\x84\xaaId\":2}",
          "taskId", 2 },
        { "{\"job\xc4\xb0" "d\":1,\"job\\u0131D\":2}", "jobId", 2 },
        { "{\"job\xc5\xbf\":1,\"job\xc3\x9f\":2}", "jobI", 0 },
        { "{\"\":1,\"\":2,\" \":3}", "", 2 },
        { "{\"\xc3\xa4\":1,\"\xc3\x84\":2}", "\xc3\xa4", 1 },
        { "{\"a\":1,\"A\":2}", "\xff", 0 },
        { "{\"\\ud800\":1,\"\xef\xbf\xbd\":2}", "\xef\xbf\xbd", 2 },
    };

    for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        raw.data = (uint8_t *) counts[i].text;
        raw.len = strlen(counts[i].text);

        is_int(rtbus_json_count(&raw, counts[i].name,
                                strlen(counts[i].name)),
               (long) counts[i].n, "members of a name %zu", i);
    }
}


static void
test_array(void)
{
    size_t               n;
    rtbus_reason_e       reason;
    const uint8_t       *pos;
    rtbus_str_t          raw;
    rtbus_json_value_t   v[3];

#define array(text)                                                           \
    rtbus_json_array(json, (uint8_t *) text, sizeof(text) - 1, v, &n, &reason)

    n = 3;
    ok(array(" [\"a,]\" , {\"b\":[1]},-1 ] ") == RTBUS_OK && n == 3
       && slice_is(&v[0].raw, "\"a,]\"") && v[0].type == RTBUS_JSON_STRING
       && slice_is(&v[1].raw, "{\"b\":[1]}") && v[1].type == RTBUS_JSON_OBJECT
       && slice_is(&v[2].raw, "-1") && v[2].type == RTBUS_JSON_NUMBER,
       "an array");

    n = 3;
    ok(array("[true]") == RTBUS_OK && n == 1
       && slice_is(&v[0].raw, "true") && v[0].type == RTBUS_JSON_BOOL
       && slice_is(&v[1].raw, "{\"b\":[1]}"), "a shorter array");

    n = 2;
    ok(array("[1,[2],3,4]") == RTBUS_OK && n == 4
       && slice_is(&v[0].raw, "1")
       && slice_is(&v[1].raw, "[2]") && v[1].type == RTBUS_JSON_ARRAY
       && slice_is(&v[2].raw, "{\"b\":[1]}") == 0, "a longer array");

    n = 3;
    ok(array("[]") == RTBUS_OK && n == 0, "an empty array");

    n = 3;
    ok(array("[ \n ]") == RTBUS_OK && n == 0, "an array of white space");

    n = 0;
    ok(array("[1,2]") == RTBUS_OK && n == 2, "elements counted only");

    n = 3;
    ok(array("{}") == RTBUS_ERROR && strcmp(rtbus_reason_text(reason), "not an array") == 0,
       "an object is no array");
    ok(array("[1,2") == RTBUS_ERROR && strcmp(rtbus_reason_text(reason), NOT_JSON) == 0,
       "an open array");

#undef array

    raw.data = (uint8_t *) "[ null , \"x\" ]tail";
    raw.len = 14;
    pos = NULL;

    ok(rtbus_json_next(&v[0], &pos, &raw) == RTBUS_OK
       && slice_is(&v[0].raw, "null") && v[0].type == RTBUS_JSON_NULL,
       "next: the first");
    ok(rtbus_json_next(&v[0], &pos, &raw) == RTBUS_OK
       && slice_is(&v[0].raw, "\"x\""), "next: the second");
    is_int(rtbus_json_next(&v[0], &pos, &raw), RTBUS_AGAIN, "next: the end");
    is_int(rtbus_json_next(&v[0], &pos, &raw), RTBUS_AGAIN, "still the end");
}


static void
test_unquote(void)
{
    size_t        i, n, bad;
    char          text[16];
    uint8_t      *p, buf[64];
    rtbus_reason_e  reason;
    rtbus_str_t   raw;

    for (i = 0; i < sizeof(unquoted) / sizeof(unquoted[0]); i++) {

        is_int(check(unquoted[i].raw, unquoted[i].raw_len, &reason), RTBUS_OK,
               "unquote %zu is JSON", i);

        raw.len = unquoted[i].raw_len;
        raw.data = copy(unquoted[i].raw, raw.len);

        is_int(rtbus_json_unquote(NULL, &raw), unquoted[i].text_len,
               "unquote %zu: length", i);

        p = malloc(raw.len - 1);
        if (p == NULL) {
            exit(2);
        }

        n = rtbus_json_unquote(p, &raw);

        ok(n == unquoted[i].text_len && memcmp(p, unquoted[i].text, n) == 0,
           "unquote %zu", i);

        free(p);
        free(raw.data);
    }

    bad = 0;

    for (i = 0; i < 0x10000; i++) {
        snprintf(text, sizeof(text), (i & 1) ? "\"\\u%04zx\"" : "\"\\u%04zX\"",
                 i);

        raw.data = (uint8_t *) text;
        raw.len = 8;

        n = rtbus_json_unquote(buf, &raw);

        if (n != (i < 0x80 ? 1U : i < 0x800 ? 2U : 3U)
            || rtbus_utf8_check(RTBUS_UTF8_ACCEPT, buf, n)
               != RTBUS_UTF8_ACCEPT)
        {
            bad++;
            continue;
        }

        if (i >= 0xd800 && i < 0xe000) {
            bad += memcmp(buf, "\xef\xbf\xbd", 3) != 0;

        } else if (n == 1) {
            bad += buf[0] != i;

        } else if (n == 2) {
            bad += ((buf[0] & 0x1fU) << 6 | (buf[1] & 0x3f)) != i;

        } else {
            bad += ((buf[0] & 0xfU) << 12 | (buf[1] & 0x3fU) << 6
                    | (buf[2] & 0x3f)) != i;
        }
    }

    is_int(bad, 0, "each \\uXXXX");
}


static void
test_quote(void)
{
    size_t        i, j, n, len, bad;
    uint8_t      *p, *src, text[8], back[64];
    rtbus_reason_e  reason;
    rtbus_str_t   raw;

    for (i = 0; i < sizeof(quoted) / sizeof(quoted[0]); i++) {

        src = copy(quoted[i].text, quoted[i].text_len);
        n = rtbus_json_quote(NULL, src, quoted[i].text_len);

        is_int(n, quoted[i].raw_len, "quote %zu: length", i);

        p = malloc(n);
        if (p == NULL) {
            exit(2);
        }

        n = rtbus_json_quote(p, src, quoted[i].text_len);

        ok(n == quoted[i].raw_len && memcmp(p, quoted[i].raw, n) == 0,
           "quote %zu", i);

        free(p);
        free(src);
    }

    is_int(rtbus_json_quote(NULL, NULL, 0), 2, "nothing, quoted");

    /* any three bytes: JSON comes out, and the same bytes if they are UTF-8 */

    p = malloc(64);
    if (p == NULL) {
        exit(2);
    }

    bad = 0;

    for (i = 0; i < 0x1000000; i += 251) {
        text[0] = i >> 16;
        text[1] = i >> 8 & 0xff;
        text[2] = i & 0xff;
        len = 3;

        n = rtbus_json_quote(p, text, len);

        if (n != rtbus_json_quote(NULL, text, len)
            || check((char *) p, n, &reason) != RTBUS_OK)
        {
            bad++;
            continue;
        }

        if (rtbus_utf8_check(RTBUS_UTF8_ACCEPT, text, len)
            != RTBUS_UTF8_ACCEPT)
        {
            continue;
        }

        raw.data = p;
        raw.len = n;

        n = rtbus_json_unquote(back, &raw);

        if (n != len || memcmp(back, text, len) != 0) {
            bad++;
        }
    }

    is_int(bad, 0, "quoted and unquoted: three bytes");

    bad = 0;

    for (i = 0x10000; i < 0x110000; i += 61) {
        text[0] = 0xf0 | i >> 18;
        text[1] = 0x80 | (i >> 12 & 0x3f);
        text[2] = 0x80 | (i >> 6 & 0x3f);
        text[3] = 0x80 | (i & 0x3f);

        raw.data = p;
        raw.len = rtbus_json_quote(p, text, 4);

        n = rtbus_json_unquote(back, &raw);

        if (n != 4 || memcmp(back, text, 4) != 0) {
            bad++;
        }

        j = i - 0x10000;
        raw.len = snprintf((char *) p, 64, "\"\\u%04zx\\u%04zx\"",
                           0xd800 + (j >> 10), 0xdc00 + (j & 0x3ff));

        n = rtbus_json_unquote(back, &raw);

        if (n != 4 || memcmp(back, text, 4) != 0) {
            bad++;
        }
    }

    is_int(bad, 0, "quoted and unquoted: above U+FFFF");

    free(p);
}


static void
test_uint(void)
{
    int           rc;
    size_t        i;
    uint64_t      n;
    rtbus_str_t   raw;

    for (i = 0; i < sizeof(uints) / sizeof(uints[0]); i++) {
        raw.len = strlen(uints[i].raw);
        raw.data = copy(uints[i].raw, raw.len);

        n = 0;
        rc = rtbus_json_uint(&raw, &n);

        ok(rc == uints[i].rc && n == uints[i].n, "uint \"%s\"", uints[i].raw);

        free(raw.data);
    }
}


int
main(void)
{
    rtbus_json_destroy(NULL);
    rtbus_json_destroy(rtbus_json_create(1));

    json = rtbus_json_create(DEPTH);
    if (json == NULL) {
        return 2;
    }

    test_valid();
    test_invalid();
    test_yajl();
    test_string();
    test_failed();
    test_reuse();
    test_spoiled();
    test_depth();
    test_large();
    test_object();
    test_count();
    test_array();
    test_unquote();
    test_quote();
    test_uint();

    rtbus_json_destroy(json);

    return done_testing();
}
