
/*
 * What every codec of this folder shares: the return codes and the slice.
 *
 * A codec knows the C library only.  It does no I/O, writes no log and owns no
 * connection.  Parsers keep their state in a small struct that the caller
 * embeds; input may stop at any byte.  Writers answer the number of bytes they
 * need when the destination is NULL.
 */


#ifndef _RTBUS_WIRE_H_INCLUDED_
#define _RTBUS_WIRE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define RTBUS_OK        0
#define RTBUS_ERROR    -1    /* malformed input; a reason is given */
#define RTBUS_AGAIN    -2    /* well formed so far, more bytes are needed */
#define RTBUS_NOMEM    -3    /* an allocation failed */


/* a slice of somebody's bytes, not zero-terminated; same layout as ngx_str_t */

typedef struct {
    size_t    len;
    uint8_t  *data;
} rtbus_str_t;


/* eight bytes c, to look at eight bytes at a time */

#define rtbus_eight(c)  (0x0101010101010101ULL * (c))


#endif /* _RTBUS_WIRE_H_INCLUDED_ */
