
/*
 * rtbus_hash: the key and the messages of the paper on SipHash, bytes that count
 * from 0 on, with the results of another implementation that was checked against
 * the hash of bytes in Python, which is SipHash-1-3.
 */


#include "unit.h"
#include "rtbus_hash.h"


static const struct {
    size_t    len;
    uint64_t  hash;
} texts[] = {
    { 0, 0xabac0158050fc4dc },
    { 1, 0xc9f49bf37d57ca93 },
    { 7, 0xd3927d989bb11140 },
    { 8, 0x369095118d299a8e },
    { 9, 0x25a48eb36c063de4 },
    { 15, 0xd320d86d2a519956 },
    { 16, 0xcc4fdd1a7d908b66 },
    { 63, 0x9d199062b7bbb3a8 },
};


static void
test_texts(void)
{
    size_t   i;
    uint8_t  text[64];

    for (i = 0; i < sizeof(text); i++) {
        text[i] = i;
    }

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ok(rtbus_hash(text, text, texts[i].len) == texts[i].hash,
           "hash of %d bytes", (int) texts[i].len);
    }
}


static void
test_key(void)
{
    size_t   i;
    uint8_t  key[RTBUS_HASH_KEY];

    memset(key, 0, sizeof(key));

    for (i = 0; i < sizeof(key); i++) {
        key[i] = 1;

        ok(rtbus_hash(key, (const uint8_t *) "job:42", 6)
           != rtbus_hash((const uint8_t *) "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                         (const uint8_t *) "job:42", 6),
           "byte %d of the key counts", (int) i);

        key[i] = 0;
    }
}


int
main(void)
{
    test_texts();
    test_key();

    return done_testing();
}
