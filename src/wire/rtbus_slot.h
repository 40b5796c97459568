
/*
 * The slot of a Redis Cluster that a key or a shard channel belongs to.
 */


#ifndef _RTBUS_SLOT_H_INCLUDED_
#define _RTBUS_SLOT_H_INCLUDED_


#include "rtbus_wire.h"


#define RTBUS_SLOTS  16384


/*
 * Of what is between the first "{" and the next "}", if there is something;
 * else of the key as a whole.
 */

unsigned rtbus_slot(const uint8_t *key, size_t len);


#endif /* _RTBUS_SLOT_H_INCLUDED_ */
