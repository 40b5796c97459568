
/*
 * What a schema is compiled to, for the compiler and the check only: nodes,
 * members, values, numbers, and the text of an error.
 */


#ifndef _RTBUS_SCHEMA_NODE_H_INCLUDED_
#define _RTBUS_SCHEMA_NODE_H_INCLUDED_


#include "rtbus_schema.h"


#define RTBUS_SCHEMA_NAME_MAX  RTBUS_EVENT_NAME_MAX  /* bytes, decoded */
#define RTBUS_SCHEMA_REQUIRED  256                   /* of one object */
#define RTBUS_SCHEMA_NUMBER    32                    /* bytes of a bound */
#define RTBUS_SCHEMA_REASON    160                   /* bytes of a reason */
#define RTBUS_SCHEMA_QUOTED    80                    /* ... and of its quote */

#define RTBUS_SCHEMA_NULL      0x01
#define RTBUS_SCHEMA_BOOL      0x02
#define RTBUS_SCHEMA_NUM       0x04
#define RTBUS_SCHEMA_INT       0x08
#define RTBUS_SCHEMA_STRING    0x10
#define RTBUS_SCHEMA_OBJECT    0x20
#define RTBUS_SCHEMA_ARRAY     0x40
#define RTBUS_SCHEMA_ANY       0x7f


typedef struct rtbus_schema_node_s   rtbus_schema_node_t;
typedef struct rtbus_schema_block_s  rtbus_schema_block_t;
typedef struct rtbus_schema_path_s   rtbus_schema_path_t;


/* d.ddd * 10^exp, the first and the last digit are not 0; sign 0: it is 0 */

typedef struct {
    int                          sign;
    int64_t                      exp;
    size_t                       digits;
    const uint8_t               *first;    /* maybe with a point among them */
    const uint8_t               *last;     /* behind the last digit */
} rtbus_schema_number_t;


typedef struct {
    rtbus_json_type_e            type;
    rtbus_str_t                  text;     /* a string is decoded */
    rtbus_schema_number_t        number;
} rtbus_schema_value_t;


/* an event, or a member of an object */

typedef struct {
    rtbus_str_t                  name;     /* decoded */
    rtbus_str_t                  raw;      /* as in the file, without quotes */
    const rtbus_schema_node_t   *node;     /* NULL: is required only */
    int                          bit;      /* its place in required, or -1 */
} rtbus_schema_member_t;


typedef struct {
    rtbus_schema_member_t       *elts;     /* sorted */
    size_t                       n;
} rtbus_schema_members_t;


struct rtbus_schema_node_s {
    unsigned                     types;
    rtbus_schema_value_t        *values;   /* enum */
    size_t                       nvalues;
    rtbus_schema_value_t        *minimum;  /* or NULL */
    rtbus_schema_value_t        *maximum;
    rtbus_schema_members_t       members;
    size_t                       nrequired;
    const rtbus_schema_node_t   *additional;  /* NULL: anything */
    const rtbus_schema_node_t   *items;       /* likewise */
};


struct rtbus_schema_block_s {
    rtbus_schema_block_t        *next;
    uint64_t                     data[1];
};


struct rtbus_schema_s {
    rtbus_schema_members_t       events;
    int                          strict;
    rtbus_schema_block_t        *blocks;
};


/* where a walk is: on the stack of its functions, text only in case of need */

struct rtbus_schema_path_s {
    const rtbus_schema_path_t   *up;
    rtbus_str_t                  name;     /* without quotes */
    size_t                       index;    /* of an element, without name */
};


typedef struct {
    char                        *p;
    char                        *last;
    int                          cut;
} rtbus_schema_text_t;


typedef struct {
    const char                  *name;
    const char                  *words;
    unsigned                     bit;
} rtbus_schema_type_t;


extern const rtbus_schema_type_t  rtbus_schema_types[];  /* the last: NULL */
extern const rtbus_schema_path_t  rtbus_schema_data;


/* decodes a name into buf, RTBUS_SCHEMA_NAME_MAX bytes, if that is needed */

int rtbus_schema_decode(rtbus_str_t *dst, const rtbus_str_t *raw, uint8_t *buf);

/* the member of that name, or NULL; and the order of members, for qsort() */

rtbus_schema_member_t *rtbus_schema_find( const rtbus_schema_members_t *members,
    const rtbus_str_t *name);
int rtbus_schema_cmp(const void *one, const void *two);

/* numbers by value, whatever their length; less, equal or greater than 0 */

void rtbus_schema_number(rtbus_schema_number_t *n, const rtbus_str_t *raw);
int rtbus_schema_number_cmp(const rtbus_schema_number_t *a,
    const rtbus_schema_number_t *b);

/* an error's text into err, RTBUS_SCHEMA_ERROR bytes; a piece of it into t */

void rtbus_schema_write(char *err, const char *prefix, const rtbus_str_t *event,
    const rtbus_schema_path_t *path, const char *separator, const char *reason);
void rtbus_schema_put(rtbus_schema_text_t *t, const void *data, size_t len);


#endif /* _RTBUS_SCHEMA_NODE_H_INCLUDED_ */
