
/*
 * text/event-stream (WHATWG HTML, section "Server-sent events"): one event is
 * "event:", "id:" and "data:" lines and an empty line.
 *
 * Data with line breaks (CR, LF, CRLF) becomes several "data:" lines.  Name and
 * id must hold none; the envelope and the cursor see to that.
 */


#ifndef _RTBUS_SSE_H_INCLUDED_
#define _RTBUS_SSE_H_INCLUDED_


#include "rtbus_wire.h"


/*
 * Writes one event; id may be empty (no id line), name may be empty (no event
 * line: the client's default, "message").  id_end is where the id ends, so that
 * whatever follows it in a cursor can be put there (0: there is none).  Answers
 * the length; with dst NULL only the length.
 */

size_t rtbus_sse_write(uint8_t *dst, const rtbus_str_t *name,
    const rtbus_str_t *data, const rtbus_str_t *id, size_t *id_end);


#endif /* _RTBUS_SSE_H_INCLUDED_ */
