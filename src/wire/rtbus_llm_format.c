
#include <string.h>

#include "rtbus_llm_format.h"
#include "rtbus_json.h"


#define RTBUS_LLM_CANCELLED    "The answer was stopped"
#define RTBUS_LLM_INTERRUPTED  "The answer was interrupted"

#define rtbus_llm_is(value, s)                                                \
    ((value).raw.len == sizeof(s) + 1                                         \
     && memcmp((value).raw.data, "\"" s "\"", sizeof(s) + 1) == 0)

#define rtbus_llm_begins(value, s)                                            \
    ((value).raw.len > sizeof(s)                                              \
     && memcmp((value).raw.data, "\"" s, sizeof(s)) == 0)


const rtbus_llm_row_t  rtbus_llm_rows[RTBUS_LLM_FORMATS] = {

    { NULL, { { RTBUS_LLM_NONE, NULL, NULL } } },      /* raw */

    { "type", {                                        /* ui */
        { RTBUS_LLM_TEXT, "text-delta", "delta" },
        { RTBUS_LLM_COUNTS, NULL, "messageMetadata.usage" },
        { RTBUS_LLM_COUNTS, NULL, "messageMetadata.totalUsage" },
        { RTBUS_LLM_END, "finish", NULL },
        { RTBUS_LLM_FAIL, "error", NULL },
        { RTBUS_LLM_FAIL, "abort", NULL } } },

    { NULL, {                                          /* openai */
        { RTBUS_LLM_TEXT, NULL, "choices.0.delta.content" },
        { RTBUS_LLM_TEXT, NULL, "choices.0.text" },
        { RTBUS_LLM_FIRST, NULL, "choices.0.index" },
        { RTBUS_LLM_COUNTS, NULL, "usage" },
        { RTBUS_LLM_SETTLED, NULL, "choices.0.finish_reason" },
        { RTBUS_LLM_FAIL, NULL, "error" } } },

    { "type", {                                        /* responses */
        { RTBUS_LLM_TEXT, "response.output_text.delta", "delta" },
        { RTBUS_LLM_COUNTS, NULL, "response.usage" },
        { RTBUS_LLM_END, "response.completed", NULL },
        { RTBUS_LLM_END, "response.incomplete", NULL },
        { RTBUS_LLM_FAIL, "response.failed", NULL },
        { RTBUS_LLM_FAIL, "error", NULL } } },

    { "type", {                                        /* anthropic */
        { RTBUS_LLM_TEXT, "content_block_delta", "delta.text" },
        { RTBUS_LLM_COUNTS, "message_start", "message.usage" },
        { RTBUS_LLM_COUNTS, "message_delta", "usage" },
        { RTBUS_LLM_END, "message_stop", NULL },
        { RTBUS_LLM_FAIL, "error", NULL } } },

    { NULL, {                                          /* gemini */
        { RTBUS_LLM_TEXT, NULL, "candidates.0.content.parts.*.text" },
        { RTBUS_LLM_COUNTS, NULL, "usageMetadata" },
        { RTBUS_LLM_END, NULL, "candidates.0.finishReason" },
        { RTBUS_LLM_END, NULL, "promptFeedback.blockReason" },
        { RTBUS_LLM_FAIL, NULL, "error" } } },

    { NULL, {                                          /* ollama */
        { RTBUS_LLM_TEXT, NULL, "message.content" },
        { RTBUS_LLM_TEXT, NULL, "response" },
        { RTBUS_LLM_COUNT, NULL, "total_duration" },
        { RTBUS_LLM_COUNT, NULL, "load_duration" },
        { RTBUS_LLM_COUNT, NULL, "prompt_eval_count" },
        { RTBUS_LLM_COUNT, NULL, "prompt_eval_duration" },
        { RTBUS_LLM_COUNT, NULL, "eval_count" },
        { RTBUS_LLM_COUNT, NULL, "eval_duration" },
        { RTBUS_LLM_END, NULL, "done" },
        { RTBUS_LLM_FAIL, NULL, "error" } } },

    { "type", {                                        /* agui */
        { RTBUS_LLM_TEXT, "TEXT_MESSAGE_CONTENT", "delta" },
        { RTBUS_LLM_TEXT, "TEXT_MESSAGE_CHUNK", "delta" },
        { RTBUS_LLM_END, "RUN_FINISHED", NULL },
        { RTBUS_LLM_FAIL, "RUN_ERROR", NULL } } },

    { NULL, {                                          /* langgraph */
        { RTBUS_LLM_TEXT, "messages", "0.content" },
        { RTBUS_LLM_COUNTS, "messages", "0.usage_metadata" },
        { RTBUS_LLM_END, "end", NULL },
        { RTBUS_LLM_FAIL, "error", NULL } } },

    { NULL, { { RTBUS_LLM_NONE, NULL, NULL } } }       /* auto */
};


const char *const  rtbus_llm_names[RTBUS_LLM_FORMATS] = {
    "raw", "ui", "openai", "responses", "anthropic", "gemini", "ollama",
    "agui", "langgraph", "auto"
};


const char *const  rtbus_job_statuses[RTBUS_JOB_STATUSES] = {
    "running", "completed", "cancelled", "interrupted", "failed"
};


/* of an answer that was cancelled, and of one that was interrupted */

static const char *const  rtbus_llm_tails[RTBUS_LLM_FORMATS][2] = {

    { NULL, NULL },                                    /* raw */

    { "data: {\"type\":\"abort\"}\n\n"                 /* ui */
      "data: [DONE]\n\n",
      "data: {\"type\":\"error\",\"errorText\":\"" RTBUS_LLM_INTERRUPTED
      "\"}\n\n"
      "data: [DONE]\n\n" },

    { "data: {\"error\":{\"message\":\"" RTBUS_LLM_CANCELLED  /* openai */
      "\",\"type\":\"cancelled\",\"param\":null,\"code\":\"cancelled\"}}\n\n",
      "data: {\"error\":{\"message\":\"" RTBUS_LLM_INTERRUPTED
      "\",\"type\":\"interrupted\",\"param\":null,"
      "\"code\":\"interrupted\"}}\n\n" },

    { "event: error\n"                                 /* responses */
      "data: {\"type\":\"error\",\"code\":\"cancelled\",\"message\":\""
      RTBUS_LLM_CANCELLED "\",\"param\":null}\n\n",
      "event: error\n"
      "data: {\"type\":\"error\",\"code\":\"interrupted\",\"message\":\""
      RTBUS_LLM_INTERRUPTED "\",\"param\":null}\n\n" },

    { "event: error\n"                                 /* anthropic */
      "data: {\"type\":\"error\",\"error\":{\"type\":\"cancelled\","
      "\"message\":\"" RTBUS_LLM_CANCELLED "\"}}\n\n",
      "event: error\n"
      "data: {\"type\":\"error\",\"error\":{\"type\":\"interrupted\","
      "\"message\":\"" RTBUS_LLM_INTERRUPTED "\"}}\n\n" },

    { NULL, NULL },                                    /* gemini */

    { "{\"error\":\"" RTBUS_LLM_CANCELLED "\"}\n",     /* ollama */
      "{\"error\":\"" RTBUS_LLM_INTERRUPTED "\"}\n" },

    { "data: {\"type\":\"RUN_ERROR\",\"message\":\""   /* agui */
      RTBUS_LLM_CANCELLED "\",\"code\":\"cancelled\"}\n\n",
      "data: {\"type\":\"RUN_ERROR\",\"message\":\""
      RTBUS_LLM_INTERRUPTED "\",\"code\":\"interrupted\"}\n\n" },

    { "event: error\n"                                 /* langgraph */
      "data: {\"error\":\"cancelled\",\"message\":\"" RTBUS_LLM_CANCELLED
      "\"}\n\n",
      "event: error\n"
      "data: {\"error\":\"interrupted\",\"message\":\""
      RTBUS_LLM_INTERRUPTED "\"}\n\n" },

    { NULL, NULL }                                     /* auto */
};


unsigned
rtbus_llm_name(const char *const *names, unsigned n, const uint8_t *p,
    size_t len)
{
    unsigned  i;

    for (i = 0; i < n; i++) {
        if (strlen(names[i]) == len && memcmp(names[i], p, len) == 0) {
            break;
        }
    }

    return i;
}


unsigned
rtbus_llm_detect(const rtbus_str_t *name, const rtbus_str_t *data, int json,
    int lines)
{
    rtbus_json_value_t   type;
    rtbus_json_member_t  m[] = { rtbus_json_member("type"),
                                 rtbus_json_member("object"),
                                 rtbus_json_member("choices"),
                                 rtbus_json_member("candidates"),
                                 rtbus_json_member("done"),
                                 rtbus_json_member("run_id"),
                                 rtbus_json_member("error"),
                                 rtbus_json_member("usageMetadata") };

    if (!json || data->len == 0) {
        return RTBUS_LLM_RAW;
    }

    if (data->data[0] != '{') {
        return RTBUS_LLM_RAW;
    }

    rtbus_json_members(data, m, sizeof(m) / sizeof(m[0]));

    if (lines) {
        return (m[4].value.type == RTBUS_JSON_BOOL) ? RTBUS_LLM_OLLAMA
                                                    : RTBUS_LLM_RAW;
    }

    if (m[2].value.type == RTBUS_JSON_ARRAY
        || rtbus_llm_begins(m[1].value, "chat.completion"))
    {
        return RTBUS_LLM_OPENAI;
    }

    if (m[3].value.type == RTBUS_JSON_ARRAY
        || m[7].value.type == RTBUS_JSON_OBJECT)
    {
        return RTBUS_LLM_GEMINI;
    }

    type = m[0].value;

    if (type.type == RTBUS_JSON_STRING) {

        if (rtbus_llm_is(type, "message_start")
            || (rtbus_llm_is(type, "error")
                && m[6].value.type == RTBUS_JSON_OBJECT))
        {
            return RTBUS_LLM_ANTHROPIC;
        }

        if (rtbus_llm_begins(type, "response.")) {
            return RTBUS_LLM_RESPONSES;
        }

        if (rtbus_llm_begins(type, "RUN_")
            || rtbus_llm_begins(type, "TEXT_MESSAGE_")
            || rtbus_llm_begins(type, "STATE_")
            || rtbus_llm_begins(type, "STEP_"))
        {
            return RTBUS_LLM_AGUI;
        }

        if (name->len == 0
            && (rtbus_llm_is(type, "start") || rtbus_llm_is(type, "start-step")
                || rtbus_llm_begins(type, "text-")
                || rtbus_llm_begins(type, "reasoning-")
                || rtbus_llm_begins(type, "tool-input-")
                || rtbus_llm_begins(type, "data-")
                || rtbus_llm_is(type, "error")))
        {
            return RTBUS_LLM_UI;
        }
    }

    if (name->len == 8 && memcmp(name->data, "metadata", 8) == 0
        && m[5].value.type == RTBUS_JSON_STRING)
    {
        return RTBUS_LLM_LANGGRAPH;
    }

    if (name->len == 0 && m[6].value.type == RTBUS_JSON_OBJECT) {
        return RTBUS_LLM_OPENAI;
    }

    return RTBUS_LLM_RAW;
}


size_t
rtbus_llm_tail(uint8_t *dst, unsigned format, unsigned status)
{
    size_t       len;
    const char  *tail;

    if (format >= RTBUS_LLM_FORMATS) {
        return 0;
    }

    tail = rtbus_llm_tails[format][status != RTBUS_JOB_CANCELLED];

    if (tail == NULL) {
        return 0;
    }

    len = strlen(tail);

    if (dst) {
        memcpy(dst, tail, len);
    }

    return len;
}
