
/*
 * Streams of events as upstreams send them: text/event-stream (WHATWG HTML,
 * section "Server-sent events") and lines of JSON.
 *
 * The parser is given the stream in pieces and stops at any byte.  A line ends
 * with CR, LF or CR LF, which may be apart; a byte order mark is passed over;
 * several data lines are joined by LF.  What is parsed is not changed.
 */


#ifndef _RTBUS_STREAM_H_INCLUDED_
#define _RTBUS_STREAM_H_INCLUDED_


#include "rtbus_wire.h"


typedef struct {
    /* set by init */

    size_t       max;       /* bytes of an event */
    unsigned     lines:1;   /* of JSON, instead of an event stream */

    /* of the event that was found, valid until the next call */

    rtbus_str_t  name;      /* data NULL: it has none */
    rtbus_str_t  data;

    /* private */

    unsigned     cr:1;      /* the last byte was a CR */
    unsigned     started:1; /* the first line is over */
    unsigned     has_data:1;
    unsigned     has_any:1; /* a line of an event that has not ended */
    unsigned     skip:1;    /* the line is a comment */
    unsigned     done:1;    /* an event was handed out */
    rtbus_str_t  line;      /* of which the end has not come, in memory of its
                               own as those below */
    rtbus_str_t  event;
    rtbus_str_t  body;
    size_t       line_size;
    size_t       event_size;
    size_t       body_size;
} rtbus_stream_t;


/* stream is zeroed memory */

void rtbus_stream_init(rtbus_stream_t *stream, unsigned lines, size_t max);
void rtbus_stream_free(rtbus_stream_t *stream);

/*
 * Reads on to the end of the next event with data; *pos moves behind what was
 * read.
 *
 * RTBUS_OK:     name and data are set, call again
 * RTBUS_AGAIN:  *pos == last, more bytes are needed
 * RTBUS_ERROR:  the event is longer than max; the parser is of no use any more
 * RTBUS_NOMEM
 */

int rtbus_stream_parse(rtbus_stream_t *stream, const uint8_t **pos,
    const uint8_t *last);

/*
 * The stream has ended: the last line of JSON needs no line end.  RTBUS_OK: there
 * is one event more; RTBUS_AGAIN: there is none.
 */

int rtbus_stream_end(rtbus_stream_t *stream);

/* is it between two events, so that one of ours may be put there */

int rtbus_stream_between(const rtbus_stream_t *stream);

#endif /* _RTBUS_STREAM_H_INCLUDED_ */
