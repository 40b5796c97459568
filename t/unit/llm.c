
/*
 * rtbus_llm: what is found in the events of each format; what is no such event,
 * or not as it should be, finds nothing and harms nothing.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_llm.h"
#include "unit.h"


static rtbus_llm_t  llm;
static char         text[4096];
static size_t       text_len;


static void
start(unsigned format)
{
    rtbus_llm_free(&llm);
    llm.format = format;
    text_len = 0;
}


static void
grow(void)
{
    if (llm.text.len) {
        memcpy(text + text_len, llm.text.data, llm.text.len);
        text_len += llm.text.len;
    }
}


static void
feed(const char *name, const char *data)
{
    uint8_t      *copy;
    rtbus_str_t   n, d;

    copy = malloc(strlen(data) + 1);
    if (copy == NULL) {
        abort();
    }

    memcpy(copy, data, strlen(data));

    n.data = (uint8_t *) name;
    n.len = strlen(name);
    d.data = copy;
    d.len = strlen(data);

    if (rtbus_llm_event(&llm, &n, &d, data[0] == '{'
                                      || (data[0] == '['
                                          && data[1] != 'D'))
        != RTBUS_OK)
    {
        abort();
    }

    grow();
    free(copy);
}


static unsigned
detect(const char *name, const char *data, int lines)
{
    rtbus_str_t  n, d;

    n.data = (uint8_t *) name;
    n.len = strlen(name);
    d.data = (uint8_t *) data;
    d.len = strlen(data);

    return rtbus_llm_detect(&n, &d, data[0] == '{', lines);
}


static void
formats(void)
{
    start(RTBUS_LLM_OPENAI);
    feed("", "{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
             "\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}");
    feed("", "{ \"choices\" : [ { \"delta\" : { \"content\" : \"Hel\" } , "
             "\"index\" : 0 } ] }");
    feed("", "{\"choices\":[{\"delta\":{\"content\":\"no\"},\"index\":1}]}");
    feed("", "{\"choices\":[{\"delta\":{\"content\":\"lo\\n\"},\"index\":0},"
             "{\"delta\":{\"content\":\"no\"},\"index\":1}]}");
    ok(!llm.settled, "openai, not settled");
    feed("", "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}");
    ok(llm.settled && !llm.ended, "openai, settled");
    feed("", "{\"choices\":[],\"usage\":{\"a\":1,\"b\":{\"c\":[1e400]}}}");
    ok(llm.counted, "openai, counted");
    feed("", "[DONE]");
    ok(llm.ended && !llm.failed, "openai, ended");
    is_mem(text, text_len, "Hello\n", "openai, text");
    is_mem(llm.usage.data, llm.usage.len, "{\"a\":1,\"b\":{\"c\":[1e400]}}",
           "openai, usage");

    start(RTBUS_LLM_OPENAI);
    feed("", "{\"error\":{\"message\":\"x\"}}");
    ok(llm.failed, "openai, failed");

    start(RTBUS_LLM_UI);
    feed("", "{\"type\":\"start\"}");
    feed("", "{\"delta\":\"a\",\"type\":\"text-delta\"}");
    feed("", "{\"delta\":\"b\",\"type\":\"reasoning-delta\"}");
    ok(!llm.ended, "ui, not ended");
    feed("", "{\"type\":\"finish\",\"messageMetadata\":{\"usage\":{\"n\":2}}}");
    ok(llm.ended, "ui, ended");
    is_mem(text, text_len, "a", "ui, text");
    is_mem(llm.usage.data, llm.usage.len, "{\"n\":2}", "ui, usage");
    feed("", "{\"type\":\"error\",\"errorText\":\"x\"}");
    ok(llm.failed, "ui, failed");

    start(RTBUS_LLM_RESPONSES);
    feed("response.output_text.delta",
         "{\"type\":\"response.output_text.delta\",\"delta\":\"a\"}");
    feed("response.completed", "{\"type\":\"response.completed\",\"response\":"
         "{\"delta\":\"b\",\"usage\":{\"total_tokens\":3}}}");
    ok(llm.ended, "responses, ended");
    is_mem(text, text_len, "a", "responses, text");
    is_mem(llm.usage.data, llm.usage.len, "{\"total_tokens\":3}",
           "responses, usage");

    start(RTBUS_LLM_ANTHROPIC);
    feed("message_start", "{\"type\":\"message_start\",\"message\":{\"usage\":"
         "{\"input_tokens\":5,\"output_tokens\":1}}}");
    feed("content_block_delta", "{\"type\":\"content_block_delta\",\"delta\":"
         "{\"type\":\"text_delta\",\"text\":\"hi\"}}");
    feed("message_delta", "{\"type\":\"message_delta\",\"usage\":"
         "{\"output_tokens\":9}}");
    feed("message_stop", "{\"type\":\"message_stop\"}");
    ok(llm.ended, "anthropic, ended");
    is_mem(text, text_len, "hi", "anthropic, text");
    is_mem(llm.usage.data, llm.usage.len,
           "{\"input_tokens\":5,\"output_tokens\":9}", "anthropic, usage");

    start(RTBUS_LLM_GEMINI);
    feed("", "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"},"
             "{\"text\":\"b\"}]}}]}");
    ok(!llm.ended, "gemini, not ended");
    feed("", "{\"candidates\":[{\"finishReason\":\"STOP\"}],"
             "\"usageMetadata\":{\"x\":1}}");
    ok(llm.ended, "gemini, ended");
    is_mem(text, text_len, "ab", "gemini, text");

    start(RTBUS_LLM_OLLAMA);
    feed("", "{\"message\":{\"content\":\"a\"},\"done\":false}");
    ok(!llm.ended, "ollama, not ended");
    feed("", "{\"response\":\"b\",\"done\":true,\"eval_count\":"
             "99999999999999999999,\"total_duration\":1}");
    ok(llm.ended, "ollama, ended");
    is_mem(text, text_len, "ab", "ollama, text");
    is_mem(llm.usage.data, llm.usage.len, "{\"eval_count\":"
           "99999999999999999999,\"total_duration\":1}", "ollama, usage");
    feed("", "{\"error\":\"x\"}");
    ok(llm.failed, "ollama, failed");

    start(RTBUS_LLM_AGUI);
    feed("", "{\"type\":\"TEXT_MESSAGE_CONTENT\",\"delta\":\"a\"}");
    feed("", "{\"type\":\"RUN_FINISHED\"}");
    ok(llm.ended && !llm.failed, "agui, ended");
    feed("", "{\"type\":\"RUN_ERROR\"}");
    ok(llm.failed, "agui, failed");

    start(RTBUS_LLM_LANGGRAPH);
    feed("messages", "[{\"content\":\"a\",\"usage_metadata\":{\"n\":1}},{}]");
    feed("values", "[{\"content\":\"b\"}]");
    feed("end", "null");
    ok(llm.ended, "langgraph, ended");
    is_mem(text, text_len, "a", "langgraph, text");
    feed("error", "{}");
    ok(llm.failed, "langgraph, failed");
}


static void
halves(void)
{
    static const char  *const head = "{\"type\":\"text-delta\",\"delta\":\"";
    char                buf[256];
    size_t              i, j;

    static const struct {
        const char  *deltas[4];
        const char  *out;
    } cases[] = {
        { { "a\\ud83d", "\\ude00b", NULL }, "a\xf0\x9f\x98\x80" "b" },
        { { "\\uD83D", "", "\\uDE00", NULL }, "\xf0\x9f\x98\x80" },
        { { "\\ud83d\\ude00", NULL }, "\xf0\x9f\x98\x80" },
        { { "\\ud83d", "a", NULL }, "\xef\xbf\xbd" "a" },
        { { "\\ud83d", NULL }, "\xef\xbf\xbd" },
        { { "\\ude00", NULL }, "\xef\xbf\xbd" },
        { { "\\ud83d", "\\ud83d", "\\ude00", NULL },
          "\xef\xbf\xbd\xf0\x9f\x98\x80" },
        { { "\\\\ud83d", "x", NULL }, "\\ud83dx" },
        { { "\\\\\\ud83d", "\\ude00", NULL }, "\\\xf0\x9f\x98\x80" },
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        start(RTBUS_LLM_UI);

        for (j = 0; cases[i].deltas[j]; j++) {
            strcpy(buf, head);
            strcat(buf, cases[i].deltas[j]);
            strcat(buf, "\"}");
            feed("", buf);
        }

        rtbus_llm_end(&llm);
        grow();

        ok(text_len == strlen(cases[i].out)
           && memcmp(text, cases[i].out, text_len) == 0, "halves %d", (int) i);
    }
}


static void
hostile(void)
{
    char   *buf;
    size_t  i, n;

    n = 100000;
    buf = malloc(2 * n + 1);
    if (buf == NULL) {
        abort();
    }

    memset(buf, '[', n);
    memset(buf + n, ']', n);
    buf[2 * n] = '\0';

    start(RTBUS_LLM_UI);
    feed("", buf);
    ok(!llm.ended, "nested");

    feed("", "{\"type\":\"text-delta\",\"delta\":\"a\"");
    feed("", "{\"type\":\"text-delta\",\"delta\":\"b\"}");
    is_mem(text, text_len, "b", "goes on after what was cut");

    for (i = 0; i < 5000; i++) {
        memcpy(buf + i * 10, "{\"type\":1,", 10);
    }

    buf[50000] = '\0';
    feed("", buf);
    feed("", "{\"type\":\"text-delta\",\"delta\":{\"delta\":\"c\"}}");
    feed("", "{\"delta\":5,\"type\":\"text-delta\"}");
    feed("", "{\"a\":{\"type\":\"finish\"},\"type.x\":1,\"\":2}");
    feed("", "[\"type\",\"finish\"]");
    ok(!llm.ended && !llm.failed, "looks like it");
    is_mem(text, text_len, "b", "no other text");

    memset(buf, 'x', n);
    memcpy(buf, "{\"", 2);
    memcpy(buf + n - 4, "\":1}", 5);
    feed("", buf);
    feed("", "{\"type\":\"finish\"}");
    ok(llm.ended, "a long name");

    start(RTBUS_LLM_OPENAI);
    memcpy(buf, "{\"usage\":{\"", 11);
    memcpy(buf + n - 5, "\":1}}", 6);
    feed("", buf);
    is_int(llm.usage.len, 0, "usage without end is not taken");

    free(buf);
}


static void
tails(void)
{
    unsigned  i;
    uint8_t   buf[1024];

    for (i = 0; i < RTBUS_LLM_FORMATS; i++) {
        is_int(rtbus_llm_tail(NULL, i, RTBUS_JOB_CANCELLED)
               == rtbus_llm_tail(buf, i, RTBUS_JOB_CANCELLED), 1,
               "tail of %s", rtbus_llm_names[i]);
    }

    is_int(rtbus_llm_tail(buf, RTBUS_LLM_RAW, RTBUS_JOB_INTERRUPTED), 0,
           "no tail");
    is_int(rtbus_llm_tail(buf, 99, RTBUS_JOB_INTERRUPTED), 0, "no format");
}


int
main(void)
{
    formats();
    halves();
    hostile();
    tails();

    is_int(detect("", "{\"choices\":[]}", 0), RTBUS_LLM_OPENAI, "openai");
    is_int(detect("", "{\"object\":\"chat.completion.chunk\"}", 0),
           RTBUS_LLM_OPENAI, "openai by object");
    is_int(detect("", "{\"type\":\"start\"}", 0), RTBUS_LLM_UI, "ui");
    is_int(detect("message_start", "{\"type\":\"message_start\"}", 0),
           RTBUS_LLM_ANTHROPIC, "anthropic");
    is_int(detect("response.created", "{\"type\":\"response.created\"}", 0),
           RTBUS_LLM_RESPONSES, "responses");
    is_int(detect("", "{\"candidates\":[]}", 0), RTBUS_LLM_GEMINI, "gemini");
    is_int(detect("", "{\"done\":false}", 1), RTBUS_LLM_OLLAMA, "ollama");
    is_int(detect("", "{\"done\":1}", 1), RTBUS_LLM_RAW, "lines");
    is_int(detect("", "{\"type\":\"RUN_STARTED\"}", 0), RTBUS_LLM_AGUI, "agui");
    is_int(detect("metadata", "{\"run_id\":\"1\"}", 0), RTBUS_LLM_LANGGRAPH,
           "langgraph");
    is_int(detect("", "{\"x\":1}", 0), RTBUS_LLM_RAW, "raw");
    is_int(detect("", "[DONE]", 0), RTBUS_LLM_RAW, "raw text");

    rtbus_llm_free(&llm);

    return done_testing();
}
