
/*
 * The fields of an entry of a stream as an event: what rtbus_publish and
 * rtbus_job_append write, and what others may have.
 */


#ifndef _NGX_RTBUS_FIELDS_H_INCLUDED_
#define _NGX_RTBUS_FIELDS_H_INCLUDED_


#include "ngx_rtbus_hub.h"


/* of the memory for a name */
#define NGX_RTBUS_FIELDS_NAME  (6 * RTBUS_EVENT_NAME_MAX + 2)


/*
 * RTBUS_REASON_NONE, or why they are not an event.  Strings of the event are the
 * reply's, but for its name, which is in name, and *text: memory that the event
 * needs, to be freed after it, or NULL.  *lost is set if it is an event for its
 * producer, but not one that clients can be given.
 */

rtbus_reason_e ngx_rtbus_fields_parse(ngx_rtbus_hub_t *hub,
    rtbus_event_t *event, redisReply *fields, u_char *name, u_char **text,
    rtbus_pos_t pos, ngx_uint_t *lost);


#endif /* _NGX_RTBUS_FIELDS_H_INCLUDED_ */
