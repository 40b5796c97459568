
/*
 * Channel names, positions and cursors.
 *
 * channel:   1-200 bytes of A-Z a-z 0-9 _ . : - and percent-encoded ones: a "%"
 *            with two of 0-9 A-F
 * position:  "<epoch>-<seq>", a Redis stream id; "0-0" is "nothing yet"
 * cursor:    "<channel>@<position>,<channel>@<position>,...", no channel twice
 */


#ifndef _RTBUS_CURSOR_H_INCLUDED_
#define _RTBUS_CURSOR_H_INCLUDED_


#include "rtbus_wire.h"


#define RTBUS_CHANNEL_MAX   200
#define RTBUS_POSITION_MAX  41      /* two numbers of 20 digits and "-" */

/* bytes of one entry of a cursor */
#define RTBUS_CURSOR_ENTRY_MAX  (RTBUS_CHANNEL_MAX + 1 + RTBUS_POSITION_MAX)


typedef struct {
    uint64_t    epoch;
    uint64_t    seq;
} rtbus_pos_t;


typedef struct {
    rtbus_str_t    channel;         /* slice of the cursor */
    rtbus_pos_t    pos;
} rtbus_cursor_entry_t;


/* RTBUS_OK or RTBUS_ERROR */

int rtbus_channel_check(const uint8_t *p, size_t len);

/*
 * Writes any bytes, such as a user's id, as a part of a channel: those that it
 * may not have, and "%", become "%XX".  No two of them become the same.  Answers
 * the length, at most 3 * len; with dst NULL only the length.
 */

size_t rtbus_channel_encode(uint8_t *dst, const uint8_t *p, size_t len);

/*
 * The whole of p must be "<digits>-<digits>", with no leading zeros, so that a
 * position has one spelling, and no overflow: RTBUS_OK or RTBUS_ERROR.
 */

int rtbus_pos_parse(rtbus_pos_t *pos, const uint8_t *p, size_t len);

/* writes at most RTBUS_POSITION_MAX bytes, no zero byte; answers the length */

size_t rtbus_pos_write(uint8_t *dst, rtbus_pos_t pos);

/* < 0, 0, > 0 as a is before, at, after b: epoch first, then seq */

int rtbus_pos_cmp(rtbus_pos_t a, rtbus_pos_t b);

/*
 * b is the event right after a: same epoch and seq + 1, or seq 1 after 0-0.  The
 * last seq of an epoch is followed by seq 0 of the next one, which is no number
 * of ours, but one that a plain XADD makes.
 */

int rtbus_pos_next(rtbus_pos_t a, rtbus_pos_t b);

/*
 * Writes one entry, "<channel>@<position>", at most RTBUS_CURSOR_ENTRY_MAX
 * bytes; answers the length.
 */

size_t rtbus_cursor_write(uint8_t *dst, const uint8_t *channel, size_t len,
    rtbus_pos_t pos);

/*
 * Takes the next entry off the cursor's text.  *pos starts at the first byte.
 *
 * RTBUS_OK:     entry is set, *pos behind it (and behind its comma)
 * RTBUS_AGAIN:  *pos == last, the cursor has ended
 * RTBUS_ERROR:  malformed (also an empty entry, a trailing comma)
 *
 * That no channel comes twice is the caller's check: it knows its limit.
 */

int rtbus_cursor_next(rtbus_cursor_entry_t *entry, const uint8_t **pos,
    const uint8_t *last);


#endif /* _RTBUS_CURSOR_H_INCLUDED_ */
