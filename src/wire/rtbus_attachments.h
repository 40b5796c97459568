
/*
 * The binary data of an event: an array of base64 strings (RFC 4648, section 4,
 * with padding, in one line), and their places in the event's data,
 *
 *   {"_placeholder":true,"num":<n>}        n counts the strings from 0
 *
 * as in a binary packet of Socket.IO ("Packet encoding" in its protocol
 * document, version 5).  A client puts the decoded strings into these places.
 * The stock one takes a place that has no string, or an 11th string, for
 * a broken connection; base64 that is not strict decodes to something else, or
 * to nothing.
 */


#ifndef _RTBUS_ATTACHMENTS_H_INCLUDED_
#define _RTBUS_ATTACHMENTS_H_INCLUDED_


#include "rtbus_json.h"


#define RTBUS_ATTACHMENTS_MAX  10


/*
 * Both are slices of checked JSON, nested no deeper than RTBUS_EVENT_DEPTH; data
 * may be empty.  RTBUS_REASON_NONE, _ATTACHMENTS, _ATTACHMENTS_MANY, _BASE64 or
 * _PLACEHOLDER.
 */

rtbus_reason_e rtbus_attachments_check(const rtbus_str_t *attachments,
    const rtbus_str_t *data);


#endif /* _RTBUS_ATTACHMENTS_H_INCLUDED_ */
