
/*
 * Unsigned numbers of 64 bits in decimal digits.
 */


#ifndef _RTBUS_NUMBER_H_INCLUDED_
#define _RTBUS_NUMBER_H_INCLUDED_


#include "rtbus_wire.h"


#define RTBUS_NUMBER_MAX  20        /* digits */


/*
 * The number that starts at p.  Answers its end, what follows is the caller's;
 * NULL if there is no digit, a leading zero or an overflow.
 */

const uint8_t *rtbus_number_parse(uint64_t *n, const uint8_t *p,
    const uint8_t *last);

/*
 * Writes at most RTBUS_NUMBER_MAX bytes, no zero byte.  Answers the length;
 * with dst NULL only the length.
 */

size_t rtbus_number_write(uint8_t *dst, uint64_t n);


#endif /* _RTBUS_NUMBER_H_INCLUDED_ */
