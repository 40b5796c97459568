
/*
 * Reads the fields of a stream entry as an event, as rtbus_publish and
 * rtbus_job_append write them.
 */


#ifndef _NGX_RTBUS_FIELDS_H_INCLUDED_
#define _NGX_RTBUS_FIELDS_H_INCLUDED_


#include "ngx_rtbus_hub.h"


/* of the memory for a name */
#define NGX_RTBUS_FIELDS_NAME  (6 * RTBUS_EVENT_NAME_MAX + 2)


/*
 * RTBUS_REASON_NONE, or why the fields are not an event.  Its strings belong to
 * the reply, except for the name, which is written to name, and *text, which is
 * NULL or memory that the caller frees after the event.  *lost is set if
 * clients cannot be given the event, though its producer has published it.
 */

rtbus_reason_e ngx_rtbus_fields_parse(ngx_rtbus_hub_t *hub,
    rtbus_event_t *event, redisReply *fields, u_char *name, u_char **text,
    rtbus_pos_t pos, ngx_uint_t *lost);


#endif /* _NGX_RTBUS_FIELDS_H_INCLUDED_ */
