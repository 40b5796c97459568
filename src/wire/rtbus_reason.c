
#include "rtbus_reason.h"


typedef struct {
    const char           *text;
    rtbus_reason_kind_e   kind;
} rtbus_reason_t;


static const rtbus_reason_t  rtbus_reasons[RTBUS_REASONS] = {

    [RTBUS_REASON_NONE] = { "", RTBUS_REASON_KIND_OTHER },

    [RTBUS_REASON_JSON] = { "not JSON", RTBUS_REASON_KIND_JSON },
    [RTBUS_REASON_OBJECT] = { "not an object", RTBUS_REASON_KIND_JSON },
    [RTBUS_REASON_ARRAY] = { "not an array", RTBUS_REASON_KIND_OTHER },
    [RTBUS_REASON_UTF8] = { "bad UTF-8", RTBUS_REASON_KIND_UTF8 },
    [RTBUS_REASON_DEPTH] = { "nested too deep", RTBUS_REASON_KIND_DEPTH },

    [RTBUS_REASON_NO_NAME] = { "no event name", RTBUS_REASON_KIND_NAME },
    [RTBUS_REASON_NAME_TYPE] =
        { "event name is not a string", RTBUS_REASON_KIND_NAME },
    [RTBUS_REASON_NAME_LONG] =
        { "event name too long", RTBUS_REASON_KIND_NAME },
    [RTBUS_REASON_NAME_CONTROL] =
        { "control character in event name", RTBUS_REASON_KIND_NAME },
    [RTBUS_REASON_NAME_RESERVED] =
        { "reserved event name", RTBUS_REASON_KIND_NAME },
    [RTBUS_REASON_ID] = { "bad id", RTBUS_REASON_KIND_ID },
    [RTBUS_REASON_ID_FOREIGN] =
        { "id is not in the stream", RTBUS_REASON_KIND_ID },
    [RTBUS_REASON_TIMESTAMP] =
        { "bad timestamp", RTBUS_REASON_KIND_TIMESTAMP },
    [RTBUS_REASON_ARGS] =
        { "args is not an array", RTBUS_REASON_KIND_ARGUMENTS },
    [RTBUS_REASON_DATA_AND_ARGS] =
        { "both data and args", RTBUS_REASON_KIND_ARGUMENTS },
    [RTBUS_REASON_LONG] = { "too long", RTBUS_REASON_KIND_SIZE },

    [RTBUS_REASON_ATTACHMENTS] =
        { "attachments is not an array of strings",
          RTBUS_REASON_KIND_ARGUMENTS },
    [RTBUS_REASON_ATTACHMENTS_MANY] =
        { "too many attachments", RTBUS_REASON_KIND_ARGUMENTS },
    [RTBUS_REASON_BASE64] =
        { "attachment is not base64", RTBUS_REASON_KIND_ARGUMENTS },
    [RTBUS_REASON_PLACEHOLDER] =
        { "bad placeholder", RTBUS_REASON_KIND_ARGUMENTS },

    [RTBUS_REASON_ENTRY] = { "bad stream entry", RTBUS_REASON_KIND_ENTRY },
    [RTBUS_REASON_ENTRY_ARRAYS] =
        { "args or attachments is not an array",
          RTBUS_REASON_KIND_ARGUMENTS },
    [RTBUS_REASON_MEMORY] = { "no memory", RTBUS_REASON_KIND_OTHER }
};


const char *const  rtbus_reason_kinds[RTBUS_REASON_KINDS] = {
    [RTBUS_REASON_KIND_JSON] = "json",
    [RTBUS_REASON_KIND_UTF8] = "utf8",
    [RTBUS_REASON_KIND_DEPTH] = "depth",
    [RTBUS_REASON_KIND_NAME] = "name",
    [RTBUS_REASON_KIND_ID] = "id",
    [RTBUS_REASON_KIND_TIMESTAMP] = "timestamp",
    [RTBUS_REASON_KIND_ARGUMENTS] = "arguments",
    [RTBUS_REASON_KIND_SIZE] = "size",
    [RTBUS_REASON_KIND_SCHEMA] = "schema",
    [RTBUS_REASON_KIND_ENTRY] = "entry",
    [RTBUS_REASON_KIND_OTHER] = "other"
};


const char *
rtbus_reason_text(rtbus_reason_e reason)
{
    return rtbus_reasons[reason].text;
}


rtbus_reason_kind_e
rtbus_reason_kind(rtbus_reason_e reason)
{
    return rtbus_reasons[reason].kind;
}
