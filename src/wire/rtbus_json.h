
/*
 * JSON texts, checked and cut into slices without being rebuilt.
 *
 * The hub passes data on byte for byte, so nothing here makes a tree: a text
 * is checked as a whole (RFC 8259 grammar, UTF-8, depth) and the members or
 * elements that the caller asked for come back as slices of the input.
 *
 * A rtbus_json_t holds what is reused between texts (a byte per level); one
 * per worker is enough.  No function here reads the input later.
 */


#ifndef _RTBUS_JSON_H_INCLUDED_
#define _RTBUS_JSON_H_INCLUDED_


#include "rtbus_reason.h"
#include "rtbus_wire.h"


typedef enum {
    RTBUS_JSON_NONE = 0,        /* the member is absent */
    RTBUS_JSON_NULL,
    RTBUS_JSON_BOOL,
    RTBUS_JSON_NUMBER,
    RTBUS_JSON_STRING,
    RTBUS_JSON_OBJECT,
    RTBUS_JSON_ARRAY
} rtbus_json_type_e;


typedef struct {
    rtbus_str_t          raw;   /* the value as it stands, strings in quotes */
    rtbus_json_type_e    type;
} rtbus_json_value_t;


typedef struct {
    const char          *name;  /* set by the caller, zero-terminated */
    size_t               len;
    rtbus_json_value_t   value; /* set by rtbus_json_object() */
} rtbus_json_member_t;

#define rtbus_json_member(s)  { s, sizeof(s) - 1, { { 0, NULL }, 0 } }


typedef struct rtbus_json_s  rtbus_json_t;


/*
 * depth: nesting allowed, the outermost container counts as 1.  NULL: no
 * memory.
 */

rtbus_json_t *rtbus_json_create(unsigned depth);
void rtbus_json_destroy(rtbus_json_t *json);

/*
 * The three below answer RTBUS_OK, or RTBUS_ERROR with *reason: _UTF8 (anywhere
 * in the text), _JSON, _DEPTH, _OBJECT, _ARRAY.  White space around the text is allowed and is not
 * part of raw.
 */

/* any one JSON value */

int rtbus_json_value(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_value_t *value, rtbus_reason_e *reason);

/*
 * One JSON object.  Of members with the same name the last counts (as
 * JSON.parse has it); members not asked for are checked and passed over.  On
 * RTBUS_ERROR all are absent.
 */

int rtbus_json_object(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_member_t *members, size_t nmembers, rtbus_reason_e *reason);

/*
 * One JSON array.  The first *n elements go to values; *n becomes the number
 * of elements that the array has, which may be larger.  On RTBUS_ERROR *n is
 * as it was.
 */

int rtbus_json_array(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_value_t *values, size_t *n, rtbus_reason_e *reason);

/*
 * The byte (of an escape or a literal: the first one) where the last text
 * ceased to be JSON, or became too deep; its end, if it was cut off.  NULL: it
 * did not, was empty, or was not UTF-8.
 */

const uint8_t *rtbus_json_failed(const rtbus_json_t *json);

/* the type of a checked value, by its first byte */

rtbus_json_type_e rtbus_json_type(uint8_t c);

/*
 * The two below walk a slice that has been checked, without a second check.
 *
 * The members of an object slice: as rtbus_json_object() sets them.
 */

void rtbus_json_members(const rtbus_str_t *raw, rtbus_json_member_t *members,
    size_t nmembers);

/*
 * How many members of an object slice have this name, in whatever case of
 * letters: a reader that folds case, or that takes the first of two, would not
 * see what rtbus_json_members() sees.  Folded are A-Z and those four characters
 * beyond ASCII of which some make an "i", a "k" or an "s".
 */

size_t rtbus_json_count(const rtbus_str_t *raw, const char *name, size_t len);

/*
 * The elements of an array slice, one by one; *pos starts as NULL.  RTBUS_OK,
 * or RTBUS_AGAIN after the last.  Of an object slice the names, in quotes, and
 * the values come in turn.
 */

int rtbus_json_next(rtbus_json_value_t *value, const uint8_t **pos,
    const rtbus_str_t *raw);

/*
 * Decodes a string slice (quotes included, already checked) to UTF-8.  Writes
 * at most raw->len - 2 bytes.  A lone surrogate (\ud800) becomes U+FFFD.
 * Answers the length; with dst NULL only the length.
 */

size_t rtbus_json_unquote(uint8_t *dst, const rtbus_str_t *raw);

/*
 * Writes any bytes as a JSON string with its quotes; bytes that are not UTF-8
 * become U+FFFD each.  Answers the length; with dst NULL only the length.
 */

size_t rtbus_json_quote(uint8_t *dst, const uint8_t *p, size_t len);

/* a non-negative integer without fraction or exponent: RTBUS_OK or _ERROR */

int rtbus_json_uint(const rtbus_str_t *raw, uint64_t *n);


#endif /* _RTBUS_JSON_H_INCLUDED_ */
