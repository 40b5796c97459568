
/*
 * Why JSON or an event is refused.  Functions answer the code; its text is for
 * logs and clients, its kind for counters.
 */


#ifndef _RTBUS_REASON_H_INCLUDED_
#define _RTBUS_REASON_H_INCLUDED_


typedef enum {
    RTBUS_REASON_NONE = 0,

    /* JSON */
    RTBUS_REASON_JSON,
    RTBUS_REASON_OBJECT,
    RTBUS_REASON_ARRAY,
    RTBUS_REASON_UTF8,
    RTBUS_REASON_DEPTH,

    /* an event */
    RTBUS_REASON_NO_NAME,
    RTBUS_REASON_NAME_TYPE,
    RTBUS_REASON_NAME_LONG,
    RTBUS_REASON_NAME_CONTROL,
    RTBUS_REASON_NAME_RESERVED,
    RTBUS_REASON_ID,
    RTBUS_REASON_ID_FOREIGN,
    RTBUS_REASON_TIMESTAMP,
    RTBUS_REASON_ARGS,
    RTBUS_REASON_DATA_AND_ARGS,
    RTBUS_REASON_LONG,

    /* its attachments */
    RTBUS_REASON_ATTACHMENTS,
    RTBUS_REASON_ATTACHMENTS_MANY,
    RTBUS_REASON_BASE64,
    RTBUS_REASON_PLACEHOLDER,

    /* an entry of a stream */
    RTBUS_REASON_ENTRY,
    RTBUS_REASON_ENTRY_ARRAYS,
    RTBUS_REASON_MEMORY,

    RTBUS_REASONS
} rtbus_reason_e;


typedef enum {
    RTBUS_REASON_KIND_JSON = 0,
    RTBUS_REASON_KIND_UTF8,
    RTBUS_REASON_KIND_DEPTH,
    RTBUS_REASON_KIND_NAME,
    RTBUS_REASON_KIND_ID,
    RTBUS_REASON_KIND_TIMESTAMP,
    RTBUS_REASON_KIND_ARGUMENTS,
    RTBUS_REASON_KIND_SIZE,
    RTBUS_REASON_KIND_SCHEMA,
    RTBUS_REASON_KIND_ENTRY,
    RTBUS_REASON_KIND_OTHER,
    RTBUS_REASON_KINDS
} rtbus_reason_kind_e;


/* labels of the kinds, in their order */

extern const char *const  rtbus_reason_kinds[RTBUS_REASON_KINDS];


/* a static text, such as "not JSON"; of RTBUS_REASON_NONE "" */

const char *rtbus_reason_text(rtbus_reason_e reason);

/* what it counts as */

rtbus_reason_kind_e rtbus_reason_kind(rtbus_reason_e reason);


#endif /* _RTBUS_REASON_H_INCLUDED_ */
