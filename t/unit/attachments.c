
/*
 * rtbus_attachments: strict base64, and places that have a string each.
 */


#include "unit.h"
#include "rtbus_attachments.h"


#define STRINGS  "attachments is not an array of strings"
#define MANY     "too many attachments"
#define BASE64   "attachment is not base64"
#define PLACE    "bad placeholder"

#define TEN      "\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\""

#define HOLE(n)  "{\"_placeholder\":true,\"num\":" n "}"


typedef struct {
    const char  *attachments;
    const char  *data;
    const char  *reason;
} attachments_case_t;


static const attachments_case_t  cases[] = {
    { "[]", "null", NULL },
    { "[\"\"]", HOLE("0"), NULL },
    { "[\"QQ==\",\"QUI=\",\"QUJD\"]", "", NULL },
    { "[ \"ab+/\" ]", "", NULL },

    /* what else JSON may look like */

    { "[\"ab+\\/\"]", "", NULL },
    { "[\"ab\\u002B\\u002f\"]", "", NULL },
    { "[\"QQ\\u003d\\u003D\"]", "", NULL },

    { "{}", "", STRINGS },
    { "\"QQ==\"", "", STRINGS },
    { "[1]", "", STRINGS },
    { "[\"QQ==\",null]", "", STRINGS },

    { "[" TEN "]", "", NULL },
    { "[" TEN ",\"\"]", "", MANY },

    { "[\"Q\"]", "", BASE64 },
    { "[\"QQ\"]", "", BASE64 },
    { "[\"QUI\"]", "", BASE64 },
    { "[\"Q===\"]", "", BASE64 },
    { "[\"====\"]", "", BASE64 },
    { "[\"QQ=A\"]", "", BASE64 },
    { "[\"QQ==QQ==\"]", "", BASE64 },
    { "[\"ab-_\"]", "", BASE64 },
    { "[\"QUJD\\nQUJD\"]", "", BASE64 },
    { "[\"QUJ\\u0000\"]", "", BASE64 },
    { "[\"QUJ\\u0141\"]", "", BASE64 },
    { "[\" QUJ\"]", "", BASE64 },
    { "[\"!!!!\"]", "", BASE64 },

    { "[\"\",\"\"]", "[" HOLE("0") ",{\"a\":[[" HOLE("1") "]]}]", NULL },
    { "[\"\",\"\"]", HOLE("1.0"), NULL },
    { "[\"\"]", "[" HOLE("0") "," HOLE("0") "]", NULL },
    { "[\"\"]", "{\"a\":{\"b\":1},\"num\":7}", NULL },
    { "[\"\"]", "{\"_placeholder\":false,\"num\":7}", NULL },
    { "[\"\"]", "{\"_placeholder\":null,\"num\":7}", NULL },
    { "[]", HOLE("7"), NULL },

    { "[\"\"]", HOLE("1"), PLACE },
    { "[\"\"]", HOLE("-1"), PLACE },
    { "[\"\"]", HOLE("0.5"), PLACE },
    { "[\"\"]", HOLE("10"), PLACE },
    { "[\"\"]", HOLE("1e0"), PLACE },
    { "[\"\"]", HOLE("\"0\""), PLACE },
    { "[\"\"]", HOLE("null"), PLACE },
    { "[\"\"]", "{\"_placeholder\":true}", PLACE },
    { "[\"\"]", "{\"_placeholder\":1,\"num\":0}", PLACE },
    { "[\"\"]", "[1,{\"a\":[[[" HOLE("3") "]]]}]", PLACE },
    { "[\"\"]", "{\"_placeholder\":false,\"_placeholder\":true,\"num\":3}",
      PLACE },
};


int
main(void)
{
    size_t                     i;
    rtbus_reason_e             reason;
    rtbus_str_t                attachments, data;
    const attachments_case_t  *c;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        c = &cases[i];

        attachments.data = (uint8_t *) c->attachments;
        attachments.len = strlen(c->attachments);
        data.data = (uint8_t *) c->data;
        data.len = strlen(c->data);

        reason = rtbus_attachments_check(&attachments, &data);

        ok(strcmp(rtbus_reason_text(reason), c->reason ? c->reason : "") == 0,
           "%s of %s", c->attachments, c->data);
    }

    return done_testing();
}
