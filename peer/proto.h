
/*
 * What a client has to know of its protocol: requests, frames, chunks, event
 * streams, packets, and the members of JSON.
 *
 * All of it reads from memory and writes to memory.  What comes here was made
 * by the module or by us, so a scan is enough where a server would have to
 * check.
 */


#ifndef PEER_PROTO_H
#define PEER_PROTO_H


#include "io.h"


typedef enum { WS = 0, SSE, SIO, PROTOCOLS } proto_e;


/* a whole number, all of s or up to the character end, *rest is behind that */

int number(str_t s, uint64_t *n, int end, str_t *rest);

/*
 * The members of a JSON object, as they are written; strings without their
 * quotes.  0: s is not an object.
 */

int json(str_t s, const char *const *names, str_t *values, int n);

/* the elements of an array; how many there are, at most n; -1: no array */

int json_array(str_t s, str_t *values, int n);


/* a request in HTTP/1.<minor>, all but further headers and the empty line */

void request_put(buf_t *b, proto_e proto, int minor, const char *uri,
    size_t len);


typedef struct {
    int                  status;
    int                  chunked;
    int                  close;         /* the connection is not kept */
    int                  sized;         /* Content-Length is given */
    size_t               size;
    size_t               len;           /* of the head */
} head_t;

/* the head of an answer; 0: it is not whole */

int head_read(str_t s, head_t *head);


typedef struct {
    uint8_t              first;         /* FIN and opcode */
    str_t                payload;
} frame_t;

/* a frame from the server: its size, 0: it is not whole */

size_t frame_read(const char *p, size_t len, frame_t *frame);

/* a frame from the client, masked with zeros */

void frame_put(buf_t *b, int opcode, const char *p, size_t len);


/* the body of a chunked answer; zeroed at its beginning */

typedef struct {
    int                  state;
    size_t               rest;
    int                  ended;
} chunks_t;

/* the bytes without what makes chunks of them, in place: how many are left */

size_t chunks_read(chunks_t *chunks, char *p, size_t len);


typedef struct {
    str_t                name;
    str_t                data;          /* NULL: a comment only */
    str_t                id;
    str_t                bad;           /* a line that should not be there */
} event_t;

/* a block of an event stream: its size, 0: it is not whole */

size_t event_read(const char *p, size_t len, event_t *event);


/* the next packet of a payload, which is shortened by it; 0: there is none */

int packet_read(str_t *payload, str_t *packet);


#endif /* PEER_PROTO_H */
