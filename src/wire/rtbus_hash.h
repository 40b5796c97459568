
/*
 * SipHash-1-3: a hash of names that others choose.  Who does not know the key
 * cannot make names that fall together.
 */


#ifndef _RTBUS_HASH_H_INCLUDED_
#define _RTBUS_HASH_H_INCLUDED_


#include "rtbus_wire.h"


#define RTBUS_HASH_KEY  16


/* any byte order gives the same */

uint64_t rtbus_hash(const uint8_t *key, const uint8_t *p, size_t len);


#endif /* _RTBUS_HASH_H_INCLUDED_ */
