
/*
 * rtbus_schema: each keyword against data that fits and data that does not,
 * each way a file can be wrong, and texts that are cut where they end.
 */


#include <stdlib.h>

#include "unit.h"
#include "rtbus_schema.h"


#define FITS  ""


/* a schema for "e", data, and what is wrong with it */

static const struct {
    const char  *schema;
    const char  *data;
    const char  *err;
} checks[] = {

    { "{}", "1", FITS },
    { "{}", "", FITS },
    { "true", "[{}]", FITS },
    { "false", "1", "data is not allowed" },
    { "false", "", "data is missing" },

    { "{\"title\":\"t\",\"description\":\"d\",\"$comment\":\"c\",\"$schema\":"
      "\"https://json-schema.org/draft/2020-12/schema\"}", "1", FITS },

    /* type */

    { "{\"type\":\"string\"}", "\"a\"", FITS },
    { "{\"type\":\"string\"}", "\"\"", FITS },
    { "{\"type\":\"string\"}", "1", "data is not a string" },
    { "{\"type\":\"string\"}", "null", "data is not a string" },
    { "{\"type\":\"string\"}", "", "data is missing" },
    { "{\"type\":\"null\"}", "null", FITS },
    { "{\"type\":\"null\"}", "", FITS },
    { "{\"type\":\"null\"}", "false", "data is not null" },
    { "{\"type\":\"boolean\"}", "true", FITS },
    { "{\"type\":\"boolean\"}", "false", FITS },
    { "{\"type\":\"boolean\"}", "\"true\"", "data is not a boolean" },
    { "{\"type\":\"object\"}", "{}", FITS },
    { "{\"type\":\"object\"}", "[]", "data is not an object" },
    { "{\"type\":\"array\"}", "[]", FITS },
    { "{\"type\":\"array\"}", "{}", "data is not an array" },
    { "{\"type\":\"number\"}", "0", FITS },
    { "{\"type\":\"number\"}", "-1.5e-3", FITS },
    { "{\"type\":\"number\"}", "\"1\"", "data is not a number" },
    { "{\"type\":\"n\\u0075mber\"}", "1", FITS },
    { "{\"ty\\u0070e\":\"number\"}", "[]", "data is not a number" },

    { "{\"type\":[\"string\",\"null\"]}", "\"a\"", FITS },
    { "{\"type\":[\"string\",\"null\"]}", "null", FITS },
    { "{\"type\":[\"null\",\"string\"]}", "1",
      "data is not a string or null" },
    { "{\"type\":[\"null\",\"string\",\"array\"]}", "1",
      "data is not a string, an array or null" },
    { "{\"type\":[\"array\",\"boolean\",\"integer\",\"null\",\"object\","
      "\"string\"]}", "1.5",
      "data is not a string, an integer, a boolean, an object, an array or "
      "null" },
    { "{\"type\":[\"number\",\"integer\"]}", "1.5", FITS },

    /* integer: the value counts, not how it is written */

    { "{\"type\":\"integer\"}", "0", FITS },
    { "{\"type\":\"integer\"}", "-0", FITS },
    { "{\"type\":\"integer\"}", "0.0", FITS },
    { "{\"type\":\"integer\"}", "0.000e-5", FITS },
    { "{\"type\":\"integer\"}", "-7", FITS },
    { "{\"type\":\"integer\"}", "1.0", FITS },
    { "{\"type\":\"integer\"}", "120", FITS },
    { "{\"type\":\"integer\"}", "120.00", FITS },
    { "{\"type\":\"integer\"}", "1.2e1", FITS },
    { "{\"type\":\"integer\"}", "1.25E+2", FITS },
    { "{\"type\":\"integer\"}", "0.05e2", FITS },
    { "{\"type\":\"integer\"}", "100e-2", FITS },
    { "{\"type\":\"integer\"}", "1e999999999999999999999", FITS },
    { "{\"type\":\"integer\"}", "123456789012345678901234567890", FITS },
    { "{\"type\":\"integer\"}", "1.5", "data is not an integer" },
    { "{\"type\":\"integer\"}", "-0.1", "data is not an integer" },
    { "{\"type\":\"integer\"}", "1.25e1", "data is not an integer" },
    { "{\"type\":\"integer\"}", "100e-3", "data is not an integer" },
    { "{\"type\":\"integer\"}", "0.05e1", "data is not an integer" },
    { "{\"type\":\"integer\"}", "1e-999999999999999999999",
      "data is not an integer" },
    { "{\"type\":\"integer\"}", "1.00000000000000000000000001",
      "data is not an integer" },

    /* enum */

    { "{\"enum\":[\"a\",\"b\"]}", "\"b\"", FITS },
    { "{\"enum\":[\"a\",\"b\"]}", "\"\\u0062\"", FITS },
    { "{\"enum\":[\"\\u0061\"]}", "\"a\"", FITS },
    { "{\"enum\":[\"a\",\"b\"]}", "\"c\"",
      "data is not one of the values listed" },
    { "{\"enum\":[\"a\",\"b\"]}", "\"ab\"",
      "data is not one of the values listed" },
    { "{\"enum\":[\"a\"]}", "[\"a\"]",
      "data is not one of the values listed" },
    { "{\"enum\":[\"1\"]}", "1", "data is not one of the values listed" },
    { "{\"enum\":[\"\"]}", "\"\"", FITS },
    { "{\"enum\":[null,true]}", "null", FITS },
    { "{\"enum\":[null,true]}", "true", FITS },
    { "{\"enum\":[null,true]}", "", FITS },
    { "{\"enum\":[null,true]}", "false",
      "data is not one of the values listed" },
    { "{\"enum\":[1,2.50]}", "1.0", FITS },
    { "{\"enum\":[1,2.50]}", "25e-1", FITS },
    { "{\"enum\":[1,2.50]}", "-1", "data is not one of the values listed" },
    { "{\"enum\":[9007199254740992]}", "9007199254740993",
      "data is not one of the values listed" },
    { "{\"type\":\"string\",\"enum\":[\"a\"]}", "1", "data is not a string" },

    /* minimum, maximum */

    { "{\"minimum\":0,\"maximum\":100}", "0", FITS },
    { "{\"minimum\":0,\"maximum\":100}", "-0.0", FITS },
    { "{\"minimum\":0,\"maximum\":100}", "100", FITS },
    { "{\"minimum\":0,\"maximum\":100}", "1e2", FITS },
    { "{\"minimum\":0,\"maximum\":100}", "33.3", FITS },
    { "{\"minimum\":0,\"maximum\":100}", "99.999999999999999999999", FITS },
    { "{\"minimum\":0,\"maximum\":100}", "100.00000000000000000001",
      "data is greater than 100" },
    { "{\"minimum\":0,\"maximum\":100}", "101", "data is greater than 100" },
    { "{\"minimum\":0,\"maximum\":100}", "1000", "data is greater than 100" },
    { "{\"minimum\":0,\"maximum\":100}", "-1", "data is less than 0" },
    { "{\"minimum\":0,\"maximum\":100}", "-1e-99", "data is less than 0" },
    { "{\"minimum\":0,\"maximum\":100}", "\"-1\"", FITS },
    { "{\"minimum\":-12.5,\"maximum\":-1}", "-12.5", FITS },
    { "{\"minimum\":-12.5,\"maximum\":-1}", "-1.25e1", FITS },
    { "{\"minimum\":-12.5,\"maximum\":-1}", "-12.51",
      "data is less than -12.5" },
    { "{\"minimum\":-12.5,\"maximum\":-1}", "-13", "data is less than -12.5" },
    { "{\"minimum\":-12.5,\"maximum\":-1}", "-1.0", FITS },
    { "{\"minimum\":-12.5,\"maximum\":-1}", "-0.99",
      "data is greater than -1" },
    { "{\"minimum\":-12.5,\"maximum\":-1}", "0", "data is greater than -1" },
    { "{\"minimum\":-12.5,\"maximum\":-1}", "5", "data is greater than -1" },
    { "{\"minimum\":1}", "0", "data is less than 1" },
    { "{\"minimum\":0.001}", "0.0011", FITS },
    { "{\"minimum\":0.001}", "0.00099", "data is less than 0.001" },
    { "{\"minimum\":12}", "1.2e1", FITS },
    { "{\"minimum\":12}", "11.9", "data is less than 12" },

    /* objects */

    { "{\"required\":[\"a\"]}", "{\"a\":null}", FITS },
    { "{\"required\":[\"a\"]}", "{ \"b\" : 1 , \"a\" : { } }", FITS },
    { "{\"required\":[\"a\"]}", "{\"\\u0061\":1}", FITS },
    { "{\"required\":[\"a\"]}", "{}", "data.a is missing" },
    { "{\"required\":[\"a\"]}", "{\"A\":1}", "data.a is missing" },
    { "{\"required\":[\"a\"]}", "{\"b\":{\"a\":1}}", "data.a is missing" },
    { "{\"required\":[\"a\"]}", "[]", FITS },
    { "{\"required\":[\"b\",\"a\"]}", "{}", "data.b is missing" },
    { "{\"required\":[\"b\",\"a\"]}", "{\"b\":1}", "data.a is missing" },
    { "{\"required\":[]}", "{}", FITS },

    { "{\"properties\":{\"a\":{\"type\":\"string\"}}}", "{}", FITS },
    { "{\"properties\":{\"a\":{\"type\":\"string\"}}}", "{\"b\":1}", FITS },
    { "{\"properties\":{\"a\":{\"type\":\"string\"}}}", "{\"a\":\"\"}", FITS },
    { "{\"properties\":{\"a\":{\"type\":\"string\"}}}", "{\"a\":1}",
      "data.a is not a string" },
    { "{\"properties\":{\"a\":{\"type\":\"string\"}}}", "{\"\\u0061\":1}",
      "data.\\u0061 is not a string" },
    { "{\"properties\":{\"\\u0061\":{\"type\":\"string\"}}}", "{\"a\":1}",
      "data.a is not a string" },
    { "{\"properties\":{\"a\":{\"type\":\"string\"}}}", "1", FITS },
    { "{\"properties\":{\"a\":true,\"b\":false}}", "{\"a\":1}", FITS },
    { "{\"properties\":{\"a\":true,\"b\":false}}", "{\"b\":1}",
      "data.b is not allowed" },

    /* whichever a reader takes */

    { "{\"properties\":{\"a\":{\"type\":\"string\"}}}",
      "{\"a\":1,\"a\":\"\"}", "data.a is not a string" },
    { "{\"properties\":{\"a\":{\"type\":\"string\"}}}",
      "{\"a\":\"\",\"a\":1}", "data.a is not a string" },

    { "{\"additionalProperties\":false}", "{}", FITS },
    { "{\"additionalProperties\":false}", "{\"a\":1}",
      "data.a is not allowed" },
    { "{\"additionalProperties\":true}", "{\"a\":1}", FITS },
    { "{\"additionalProperties\":{\"type\":\"integer\"}}", "{\"a\":1,\"b\":2}",
      FITS },
    { "{\"additionalProperties\":{\"type\":\"integer\"}}",
      "{\"a\":1,\"b\":\"\"}", "data.b is not an integer" },
    { "{\"properties\":{\"a\":{}},\"additionalProperties\":false}",
      "{\"a\":[]}", FITS },
    { "{\"properties\":{\"a\":{}},\"additionalProperties\":false}",
      "{\"a\":1,\"a\\n\\\"\":2}", "data.a\\n\\\" is not allowed" },
    { "{\"required\":[\"a\"],\"additionalProperties\":{\"type\":\"null\"}}",
      "{\"a\":1}", "data.a is not null" },

    /* arrays */

    { "{\"items\":{\"type\":\"string\"}}", "[]", FITS },
    { "{\"items\":{\"type\":\"string\"}}", "[\"a\", \"b\"]", FITS },
    { "{\"items\":{\"type\":\"string\"}}", "[\"a\",\"b\",3]",
      "data[2] is not a string" },
    { "{\"items\":{\"type\":\"string\"}}", "{\"a\":1}", FITS },
    { "{\"items\":true}", "[1]", FITS },
    { "{\"items\":false}", "[]", FITS },
    { "{\"items\":false}", "[1]", "data[0] is not allowed" },

    { "{\"properties\":{\"a\":{\"items\":{\"properties\":{\"b\":{\"items\":"
      "{\"type\":\"null\"}}}}}}}",
      "{\"a\":[{\"b\":[null]},{},[],{\"b\":[null,null,0]}]}",
      "data.a[3].b[2] is not null" },
    { "{\"items\":{\"items\":{\"required\":[\"x\"]}}}",
      "[[{\"x\":1}],[[],{}]]", "data[1][1].x is missing" },
};


/* files that are wrong */

static const struct {
    const char  *text;
    const char  *err;
} files[] = {
    { "", "not JSON" },
    { " \n ", "not JSON" },
    { "[]", "line 1: not an object" },
    { "\n\n 1", "line 3: not an object" },
    { "{", "line 1: not JSON" },
    { "{\n\n\"a\":{}\n,\n}", "line 5: not JSON" },
    { "{\n\"a\":{},\n\"b\":{}}}", "line 3: not JSON" },
    { "{\"\xff\":{}}", "bad UTF-8" },

    { "{\"\":{}}", "line 1: no event name" },
    { "{\"disconnect\":{}}", "line 1: disconnect: reserved event name" },
    { "{\"a\\n\":{}}", "line 1: a\\n: control character in event name" },
    { "{\"a\":1}", "line 1: a: data: a schema is an object or a boolean" },
    { "{\"a\":\"\"}", "line 1: a: data: a schema is an object or a boolean" },
    { "{\"a\":null}", "line 1: a: data: a schema is an object or a boolean" },
    { "{\"$schema\":{\"x\":1}}",
      "line 1: $schema: data: unknown keyword \"x\"" },
    { "{\"a\":{},\n\"b\":{},\n\"\\u0061\":{}}",
      "line 3: duplicate name \"\\u0061\"" },

    /* keywords */

    { "{\"a\":{\"pattern\":\"x\"}}",
      "line 1: a: data: unknown keyword \"pattern\"" },
    { "{\n\"a\":\n{\"type\":\"object\",\n\"$ref\":\"#/b\"}}",
      "line 4: a: data: unknown keyword \"$ref\"" },
    { "{\"a\":{\"Type\":\"x\"}}",
      "line 1: a: data: unknown keyword \"Type\"" },
    { "{\"a\":{\"type\":\"null\",\"ty\\u0070e\":\"null\"}}",
      "line 1: a: data: duplicate keyword \"ty\\u0070e\"" },
    { "{\"a\":{\"properties\":{\"b\":{\"items\":{\"additionalProperties\":"
      "{\"oneOf\":[]}}}}}}",
      "line 1: a: data.b.items.additionalProperties: unknown keyword "
      "\"oneOf\"" },
    { "{\"a\":{\"title\":1}}", "line 1: a: data: an annotation is a string" },
    { "{\"a\":{\"description\":{}}}",
      "line 1: a: data: an annotation is a string" },

    { "{\"a\":{\"type\":1}}",
      "line 1: a: data: type is not a string or array of strings" },
    { "{\"a\":{\"type\":[\"string\",1]}}",
      "line 1: a: data: type is not a string or array of strings" },
    { "{\"a\":{\"type\":[]}}", "line 1: a: data: type is empty" },
    { "{\"a\":{\"type\":\"float\"}}",
      "line 1: a: data: unknown type \"float\"" },
    { "{\"a\":{\"type\":\"\"}}", "line 1: a: data: unknown type \"\"" },

    { "{\"a\":{\"enum\":\"a\"}}",
      "line 1: a: data: enum is not an array of values" },
    { "{\"a\":{\"enum\":[]}}",
      "line 1: a: data: enum is not an array of values" },
    { "{\"a\":{\"enum\":[1,[]]}}",
      "line 1: a: data: enum has an object or an array" },
    { "{\"a\":{\"enum\":[{}]}}",
      "line 1: a: data: enum has an object or an array" },

    { "{\"a\":{\"minimum\":\"0\"}}",
      "line 1: a: data: not a number of at most 32 bytes: \"minimum\"" },
    { "{\"a\":{\"maximum\":123456789012345678901234567890.12}}",
      "line 1: a: data: not a number of at most 32 bytes: \"maximum\"" },
    { "{\"a\":{\"minimum\":1.5,\"maximum\":15e-1}}", FITS },
    { "{\"a\":{\"minimum\":1.5,\"maximum\":1}}",
      "line 1: a: data: minimum is greater than maximum" },

    { "{\"a\":{\"properties\":[]}}",
      "line 1: a: data: properties is not an object" },
    { "{\"a\":{\"properties\":{\"b\":1}}}",
      "line 1: a: data.b: a schema is an object or a boolean" },
    { "{\"a\":{\"properties\":{\"b\":{},\n\"c\":{},\n\"b\":{}}}}",
      "line 3: a: data: duplicate name \"b\"" },
    { "{\"a\":{\"required\":\"b\"}}",
      "line 1: a: data: required is not an array of names" },
    { "{\"a\":{\"required\":[\"b\",1]}}",
      "line 1: a: data: required is not an array of names" },
    { "{\"a\":{\"properties\":{\"b\":{}},\"required\":[\"b\",\"b\"]}}",
      "line 1: a: data: required twice: \"b\"" },
    { "{\"a\":{\"required\":[\"b\",\"b\"]}}",
      "line 1: a: data: duplicate name \"b\"" },
    { "{\"a\":{\"required\":[\"b\"],\"additionalProperties\":false}}",
      "line 1: a: data: required and not among properties: \"b\"" },
    { "{\"a\":{\"properties\":{\"c\":{},\"b\":{}},\"required\":[\"b\"],"
      "\"additionalProperties\":false}}", FITS },
    { "{\"a\":{\"additionalProperties\":0}}",
      "line 1: a: data.additionalProperties: a schema is an object or a "
      "boolean" },
    { "{\"a\":{\"items\":[{}]}}",
      "line 1: a: data.items: a schema is an object or a boolean" },

    { "{}", FITS },
    { "{\"$schema\":\"x\",\"$comment\":\"y\"}", FITS },
    { "{\"$schema\":{},\"$comment\":true}", FITS },
};


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


static rtbus_schema_t *
create(const char *text, int strict)
{
    int              rc;
    char             err[RTBUS_SCHEMA_ERROR];
    size_t           len;
    uint8_t         *p;
    rtbus_schema_t  *schema;

    len = strlen(text);
    p = copy(text, len);

    rc = rtbus_schema_create(&schema, p, len, strict, err);

    memset(p, 'x', len);
    free(p);

    if (rc != RTBUS_OK) {
        printf("# %s\n", err);
        exit(2);
    }

    return schema;
}


static int
check(rtbus_schema_t *schema, const char *name, const char *data, char *err)
{
    int          rc;
    uint8_t     *p;
    rtbus_str_t  n, d;

    n.data = (uint8_t *) name;
    n.len = strlen(name);

    d.len = strlen(data);
    d.data = p = copy(data, d.len);

    memset(err, 'x', RTBUS_SCHEMA_ERROR);

    rc = rtbus_schema_check(schema, &n, &d, err);

    if (rc == RTBUS_OK) {
        err[0] = '\0';
    }

    free(p);

    return rc;
}


static void
test_checks(void)
{
    int              rc;
    char             text[512], err[RTBUS_SCHEMA_ERROR];
    size_t           i;
    rtbus_schema_t  *schema;

    for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {

        snprintf(text, sizeof(text), "{\"e\":%s}", checks[i].schema);

        schema = create(text, 0);
        rc = check(schema, "e", checks[i].data, err);

        if (!ok(strcmp(err, checks[i].err) == 0
                && (rc == RTBUS_OK) == (checks[i].err[0] == '\0'),
                "%s: %s", checks[i].schema, checks[i].data))
        {
            printf("#  %s\n", err);
        }

        rtbus_schema_destroy(schema);
    }
}


static void
test_files(void)
{
    int              rc;
    char             err[RTBUS_SCHEMA_ERROR];
    size_t           i, len;
    uint8_t         *p;
    rtbus_schema_t  *schema;

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {

        len = strlen(files[i].text);
        p = copy(files[i].text, len);

        schema = NULL;
        err[0] = '\0';

        rc = rtbus_schema_create(&schema, p, len, 0, err);

        if (!ok(strcmp(err, files[i].err) == 0
                && (rc == RTBUS_OK) == (files[i].err[0] == '\0')
                && (rc == RTBUS_OK) == (schema != NULL),
                "file %zu: %s", i, files[i].err))
        {
            printf("#  %s\n", err);
        }

        rtbus_schema_destroy(schema);
        free(p);
    }

    rtbus_schema_destroy(NULL);
}


static void
test_names(void)
{
    char             err[RTBUS_SCHEMA_ERROR];
    rtbus_schema_t  *schema;

    static const char  text[] =
        "{\"b:v1\":{\"type\":\"null\"},\"$comment\":\"x\","
        "\"a:v1\":{\"type\":\"string\"},\"b:v10\":true,"
        "\"\\u00fc:v1\":{\"type\":\"array\"}}";

    schema = create(text, 0);

    is_int(check(schema, "a:v1", "1", err), RTBUS_ERROR, "name");
    is_mem(err, strlen(err), "data is not a string", "name text");
    is_int(check(schema, "b:v1", "1", err), RTBUS_ERROR, "another");
    is_mem(err, strlen(err), "data is not null", "another text");
    is_int(check(schema, "b:v10", "1", err), RTBUS_OK, "longer");
    is_int(check(schema, "\xc3\xbc:v1", "1", err), RTBUS_ERROR, "decoded");
    is_int(check(schema, "a:v2", "1", err), RTBUS_OK, "not there");
    is_int(check(schema, "", "1", err), RTBUS_OK, "empty");
    is_int(check(schema, "$comment", "1", err), RTBUS_OK, "comment");

    rtbus_schema_destroy(schema);

    schema = create(text, 1);

    is_int(check(schema, "a:v1", "\"\"", err), RTBUS_OK, "strict");
    is_int(check(schema, "a:v1", "1", err), RTBUS_ERROR, "strict name");
    is_int(check(schema, "a:v2", "\"\"", err), RTBUS_ERROR, "strict unknown");
    is_mem(err, strlen(err), "event name is not in the schema",
           "strict unknown text");
    is_int(check(schema, "$comment", "1", err), RTBUS_ERROR, "strict comment");

    rtbus_schema_destroy(schema);

    schema = create("{}", 1);

    is_int(check(schema, "a", "1", err), RTBUS_ERROR, "strict and empty");

    rtbus_schema_destroy(schema);
}


/* of args the first stands for data */

static void
test_events(void)
{
    int              rc;
    char             err[RTBUS_SCHEMA_ERROR];
    size_t           i;
    rtbus_reason_e   reason;
    rtbus_json_t    *json;
    rtbus_event_t    ev;
    rtbus_schema_t  *schema;

    static const struct {
        const char  *text;
        const char  *err;
    } events[] = {
        { "{\"event\":\"e\",\"data\":\"a\"}", FITS },
        { "{\"event\":\"e\",\"data\": 1 }", "data is not a string" },
        { "{\"event\":\"e\"}", "data is missing" },
        { "{\"event\":\"e\",\"data\":null}", "data is not a string" },
        { "{\"event\":\"e\",\"args\":[\"a\"]}", FITS },
        { "{\"event\":\"e\",\"args\":[ \"a\" , 2]}", FITS },
        { "{\"event\":\"e\",\"args\":[ 1 ,\"a\"]}", "data is not a string" },
        { "{\"event\":\"e\",\"args\":[ ]}", "data is missing" },
        { "{\"event\":\"\\u0065\",\"data\":1}", "data is not a string" },
        { "{\"event\":\"f\",\"args\":[]}", FITS },
    };

    schema = create("{\"e\":{\"type\":\"string\"}}", 0);

    json = rtbus_json_create(RTBUS_EVENT_DEPTH);
    if (json == NULL) {
        exit(2);
    }

    for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {

        rc = rtbus_event_parse(json, &ev, (const uint8_t *) events[i].text,
                               strlen(events[i].text), &reason);

        ok(rc == RTBUS_OK, "event %zu", i);

        err[0] = '\0';
        rc = rtbus_schema_event(schema, &ev, err);

        ok(strcmp(err, events[i].err) == 0
           && (rc == RTBUS_OK) == (err[0] == '\0'),
           "%s", events[i].text);
    }

    rtbus_json_destroy(json);
    rtbus_schema_destroy(schema);
}


static char *
repeat(char *p, const char *s, size_t n)
{
    while (n--) {
        p = stpcpy(p, s);
    }

    return p;
}


/* as deep as an event may be, and one more */

static void
test_depth(void)
{
    int              rc;
    char            *p, text[2048], data[512], err[RTBUS_SCHEMA_ERROR];
    rtbus_schema_t  *schema;

    p = repeat(text, "{\"e\":", 1);
    p = repeat(p, "{\"items\":", RTBUS_EVENT_DEPTH - 1);
    p = repeat(p, "false", 1);
    p = repeat(p, "}", RTBUS_EVENT_DEPTH);

    schema = create(text, 0);

    p = repeat(data, "[", RTBUS_EVENT_DEPTH - 1);
    p = repeat(p, "1", 1);
    p = repeat(p, "]", RTBUS_EVENT_DEPTH - 1);

    is_int(check(schema, "e", data, err), RTBUS_ERROR, "deep");
    ok(strncmp(err, "data[0][0]", 10) == 0, "deep path");
    ok(strstr(err, "[0] is not allowed") != NULL, "deep reason");

    p = repeat(data, "[", RTBUS_EVENT_DEPTH - 1);
    p = repeat(p, "]", RTBUS_EVENT_DEPTH - 1);

    is_int(check(schema, "e", data, err), RTBUS_OK, "deep and good");

    rtbus_schema_destroy(schema);

    p = repeat(text, "{\"e\":", 1);
    p = repeat(p, "{\"items\":", RTBUS_EVENT_DEPTH);
    p = repeat(p, "false", 1);
    p = repeat(p, "}", RTBUS_EVENT_DEPTH + 1);

    rc = rtbus_schema_create(&schema, (uint8_t *) text, strlen(text), 0, err);

    is_int(rc, RTBUS_ERROR, "too deep");
    is_mem(err, strlen(err), "line 1: nested too deep", "too deep text");
}


/* a text is cut in its path, between characters, and ends with the reason */

static void
test_cut(void)
{
    int              bad;
    char            *p, text[4096], data[4096], err[RTBUS_SCHEMA_ERROR];
    size_t           i, n;
    rtbus_schema_t  *schema;

    schema = create("{\"e\":{\"additionalProperties\":false}}", 0);

    bad = 0;

    for (i = 0; i < 300; i++) {
        p = repeat(data, "{\"", 1);
        p = repeat(p, "a", i);
        p = repeat(p, "\xe2\x82\xac", 300);
        p = repeat(p, "\":1}", 1);

        if (check(schema, "e", data, err) != RTBUS_ERROR) {
            bad++;
            continue;
        }

        n = strlen(err);

        bad += (n < RTBUS_SCHEMA_ERROR - 4 || n >= RTBUS_SCHEMA_ERROR);
        bad += (strcmp(err + n - 18, "... is not allowed") != 0);
        bad += (i < 100
                && memcmp(err + n - 21, "\xe2\x82\xac", 3) != 0);
    }

    is_int(bad, 0, "long names");

    is_int(check(schema, "e", "{\"a\x7f\":1}", err), RTBUS_ERROR, "delete");
    is_mem(err, strlen(err), "data.a? is not allowed", "delete text");

    /* a whole name that just fits is not cut */

    bad = 0;

    for (i = 200; i < 256; i++) {
        p = repeat(data, "{\"", 1);
        p = repeat(p, "a", i);
        p = repeat(p, "\":1}", 1);

        check(schema, "e", data, err);

        n = sizeof("data. is not allowed") - 1 + i;

        if (n + 3 < RTBUS_SCHEMA_ERROR) {
            bad += (strlen(err) != n || strstr(err, "...") != NULL);

        } else {
            bad += (strstr(err, "... is not allowed") == NULL);
        }
    }

    is_int(bad, 0, "names that just fit");

    rtbus_schema_destroy(schema);

    /* and in files */

    bad = 0;

    for (i = 1; i < 300; i++) {
        p = repeat(text, "{\"", 1);
        p = repeat(p, "\xc3\xbc", i > 64 ? 64 : i);
        p = repeat(p, "\":{\"properties\":{\"", 1);
        p = repeat(p, "b", i > 128 ? 128 : i);
        p = repeat(p, "\":{\"", 1);
        p = repeat(p, "\xc3\xbc", i);
        p = repeat(p, "\":1}}}}", 1);

        bad += (rtbus_schema_create(&schema, (uint8_t *) text, strlen(text), 0,
                                    err)
                != RTBUS_ERROR);
        bad += (strlen(err) >= RTBUS_SCHEMA_ERROR);
        bad += (strstr(err, ": unknown keyword \"\xc3\xbc") == NULL);
        bad += (err[strlen(err) - 1] != '"');
    }

    is_int(bad, 0, "long files");

    p = repeat(text, "{\"a\":{\"properties\":{\"", 1);
    p = repeat(p, "b", 129);
    p = repeat(p, "\":{}}}}", 1);

    rtbus_schema_create(&schema, (uint8_t *) text, strlen(text), 0, err);
    is_mem(err, strlen(err),
           "line 1: a: data: a string is longer than 128 bytes", "long name");
}


/* more names than a word has bits; a name with escapes that fits nothing */

static void
test_many(void)
{
    int              i, bad;
    char            *p, name[16], *text, *data, err[RTBUS_SCHEMA_ERROR];
    rtbus_schema_t  *schema;

    text = malloc(65536);
    data = malloc(65536);

    if (text == NULL || data == NULL) {
        exit(2);
    }

    p = repeat(text, "{\"e\":{\"required\":[\"n0\"", 1);

    for (i = 1; i < 256; i++) {
        p += sprintf(p, ",\"n%d\"", i);
    }

    p = repeat(p, "],\"properties\":{\"x\":{}", 1);

    for (i = 0; i < 256; i += 2) {
        p += sprintf(p, ",\"n%d\":{\"enum\":[%d]}", i, i);
    }

    p = repeat(p, "}}}", 1);

    schema = create(text, 0);

    p = repeat(data, "{\"x\":0", 1);

    for (i = 255; i >= 0; i--) {
        p += sprintf(p, ",\"n%d\":%d", i, i);
    }

    p = repeat(p, "}", 1);

    is_int(check(schema, "e", data, err), RTBUS_OK, "256 names");

    bad = 0;

    for (i = 0; i < 256; i++) {
        sprintf(name, "\"n%d\"", i);
        p = strstr(data, name);
        p[1] = 'm';

        bad += (check(schema, "e", data, err) != RTBUS_ERROR);

        sprintf(name, ".n%d ", i);
        bad += (strstr(err, name) == NULL || strstr(err, "missing") == NULL);

        p[1] = 'n';
    }

    is_int(bad, 0, "each of 256 names");

    p = repeat(data, "{\"", 1);
    p = repeat(p, "\\u0061", 1000);
    p = repeat(p, "\":1}", 1);

    is_int(check(schema, "e", data, err), RTBUS_ERROR, "long escapes");
    is_mem(err, strlen(err), "data.n0 is missing", "long escapes text");

    rtbus_schema_destroy(schema);

    schema = create("{\"e\":{\"enum\":[\"a\"]}}", 0);

    p = repeat(data, "\"", 1);
    p = repeat(p, "\\u0061", 1000);
    p = repeat(p, "\"", 1);

    is_int(check(schema, "e", data, err), RTBUS_ERROR, "long value");

    rtbus_schema_destroy(schema);

    p = repeat(text, "{\"e\":{\"required\":[\"n0\"", 1);

    for (i = 1; i < 257; i++) {
        p += sprintf(p, ",\"n%d\"", i);
    }

    p = repeat(p, "]}}", 1);

    rtbus_schema_create(&schema, (uint8_t *) text, strlen(text), 0, err);
    is_mem(err, strlen(err),
           "line 1: e: data: more than 256 names are required",
           "257 names");

    free(text);
    free(data);
}


int
main(void)
{
    test_checks();
    test_files();
    test_names();
    test_events();
    test_depth();
    test_cut();
    test_many();

    return done_testing();
}
