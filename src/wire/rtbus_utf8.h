
/*
 * Incremental check of UTF-8 (RFC 3629: no overlong forms, no surrogates,
 * nothing above U+10FFFF).  The state is one machine word that the caller
 * keeps between calls; RTBUS_UTF8_ACCEPT is both the start state and the only
 * state in which the text may end.
 */


#ifndef _RTBUS_UTF8_H_INCLUDED_
#define _RTBUS_UTF8_H_INCLUDED_


#include "rtbus_wire.h"


#define RTBUS_UTF8_ACCEPT  0
#define RTBUS_UTF8_REJECT  1


/*
 * Feeds len bytes.  Answers the new state: RTBUS_UTF8_ACCEPT when the text is
 * whole so far, RTBUS_UTF8_REJECT when it can never become valid, another
 * value in the middle of a character.
 */

uint32_t rtbus_utf8_check(uint32_t state, const uint8_t *p, size_t len);

/*
 * The length, 1 to 4, of the character at p, which is before last; 0: it is
 * none, or not whole.
 */

size_t rtbus_utf8_character(const uint8_t *p, const uint8_t *last);


#endif /* _RTBUS_UTF8_H_INCLUDED_ */
