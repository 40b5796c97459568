
/*
 * The contract between producers, nginx and clients: the shape of each event's
 * data, by the event's name.
 *
 * The file is a JSON object.  Its members are the names of events with their
 * version, and the values are schemas of what these events have in data:
 *
 *   {
 *       "model:chunk:v1": {
 *           "type": "object",
 *           "required": [ "jobId", "chunk" ],
 *           "properties": {
 *               "jobId": { "type": "string" },
 *               "chunk": { "type": "string" },
 *               "index": { "type": "integer", "minimum": 0 }
 *           }
 *       }
 *   }
 *
 * A schema is JSON Schema with these keywords, as JSON Schema has them:
 *
 * type                   "null", "boolean", "number", "integer" (a number
 *                        without fraction: 1, 1.0 and 1e2 alike), "string",
 *                        "object", "array", or an array of these
 * properties             of an object; members that are not named in it are
 *                        what additionalProperties says
 * required               names of an object's members
 * additionalProperties   a schema; false: there must be no other members
 * items                  a schema for all elements of an array
 * enum                   strings, numbers, booleans, null
 * minimum, maximum       of a number
 *
 * true in place of a schema takes anything, false nothing.  $schema, $comment,
 * title and description are strings and say nothing that would be checked; of
 * these $schema and $comment may also stand beside the events.  Another keyword
 * is an error: what is not checked must not seem to be.
 *
 * Of members with the same name all are checked, since which one counts is up
 * to whoever reads it.  Strings are compared as what they say, numbers by
 * value, whatever their length.
 */


#ifndef _RTBUS_SCHEMA_H_INCLUDED_
#define _RTBUS_SCHEMA_H_INCLUDED_


#include "rtbus_wire.h"
#include "rtbus_event.h"


#define RTBUS_SCHEMA_ERROR  256    /* bytes of an error text, all included */


typedef struct rtbus_schema_s  rtbus_schema_t;


/*
 * Reads the text of a file; strict: events that are not in it are refused, too.
 * The schema belongs to the caller, who may drop the text.
 *
 * RTBUS_OK, RTBUS_NOMEM, or RTBUS_ERROR with err, RTBUS_SCHEMA_ERROR bytes, as
 * in "line 7: model:chunk:v1: data.index: unknown keyword \"pattern\"".
 */

int rtbus_schema_create(rtbus_schema_t **schema, const uint8_t *p, size_t len,
    int strict, char *err);
void rtbus_schema_destroy(rtbus_schema_t *schema);

/*
 * Is this the data of such an event?  name is decoded; data is a slice of
 * checked JSON without white space around it, len 0: there is none, which
 * clients get as null.  Allocates nothing.
 *
 * RTBUS_OK, or RTBUS_ERROR with err, RTBUS_SCHEMA_ERROR bytes, as in
 * "data.jobId is missing", "data.words[3] is not a string or null", "event name
 * is not in the schema"; a long path is cut, the reason is always there.
 * The text has no ASCII control characters.
 */

int rtbus_schema_check(const rtbus_schema_t *schema, const rtbus_str_t *name,
    const rtbus_str_t *data, char *err);

/* the same for an event; where it has args, the first of them is its data */

int rtbus_schema_event(const rtbus_schema_t *schema, const rtbus_event_t *ev,
    char *err);


#endif /* _RTBUS_SCHEMA_H_INCLUDED_ */
