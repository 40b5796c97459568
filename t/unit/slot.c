
/*
 * rtbus_slot: slots as CLUSTER KEYSLOT of Redis 7 has answered them.
 */


#include "unit.h"
#include "rtbus_slot.h"


#define T(s)  s, sizeof(s) - 1


static const struct {
    const char  *key;
    size_t       len;
    unsigned     slot;
} keys[] = {

    { T(""), 0 },
    { T("a"), 15495 },
    { T("foo"), 12182 },
    { T("bar"), 5061 },
    { T("123456789"), 12739 },
    { T("job:42"), 3233 },
    { T("rtbus:commands"), 9075 },
    { T("rtbus:worker:AbCdEfGhIjKl"), 13878 },

    /* hash tags */

    { T("{foo}"), 12182 },
    { T("{foo}:events"), 12182 },
    { T("x{foo}y{bar}"), 12182 },
    { T("{a}b"), 15495 },
    { T("{job:42}"), 3233 },
    { T("app:{job:42}:state"), 3233 },
    { T("}{a}"), 15495 },

    /* and what is none */

    { T("{}"), 15257 },
    { T("{}a"), 10875 },
    { T("{}{a}"), 13650 },
    { T("{"), 4092 },
    { T("}"), 12090 },
    { T("{a"), 10276 },
    { T("a}"), 5921 },

    /* up to the first "}" */

    { T("{{a}}"), 10276 },

    { T("\377\376{\200}"), 4488 },
};


static void
test_keys(void)
{
    size_t  i;

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        is_int(rtbus_slot((const uint8_t *) keys[i].key, keys[i].len),
               keys[i].slot, "slot of \"%s\"",
               keys[i].key[0] & 0x80 ? "bytes" : keys[i].key);
    }
}


int
main(void)
{
    test_keys();

    return done_testing();
}
