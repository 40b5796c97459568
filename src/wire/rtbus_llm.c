
/*
 * Formats of streamed answers.
 */


#include <string.h>

#include "rtbus_llm.h"


#define RTBUS_LLM_CANCELLED    "The answer was stopped"
#define RTBUS_LLM_INTERRUPTED  "The answer was interrupted"


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
