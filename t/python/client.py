# The Python client, python-socketio: connecting, events, acks, namespaces,
# binary, users, and what it does when the connection breaks.  TAP on stdout; the
# suite gives its ports and files as one JSON argument.

import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback

import socketio

conf = json.loads(sys.argv[1])
url = "http://127.0.0.1:%d" % conf["port"]

tests = 0
clients = []


def ok(value, name):
    global tests

    tests += 1
    print("%s %d - %s" % ("ok" if value else "not ok", tests, name))

    return bool(value)


def equal(got, expected, name):
    if not ok(got == expected, name):
        print("#      got: %s" % repr(got)[:400])
        print("# expected: %s" % repr(expected)[:400])


def wait(what, condition, seconds=20):
    end = time.monotonic() + seconds

    while True:
        value = condition()

        if value:
            return value

        if time.monotonic() > end:
            print("# timed out: %s" % what)
            return None

        time.sleep(0.005)


class Redis:
    def __init__(self):
        self.file = socket.create_connection(
            ("127.0.0.1", conf["redis"])).makefile("rwb")
        self.lock = threading.Lock()

    def cmd(self, *args):
        with self.lock:
            self.file.write(b"*%d\r\n" % len(args))

            for arg in args:
                arg = arg if isinstance(arg, bytes) else str(arg).encode()
                self.file.write(b"$%d\r\n%s\r\n" % (len(arg), arg))

            self.file.flush()

            head = self.file.readline()[:-2]

            if head[:1] == b"-":
                raise Exception(head.decode())

            if head[:1] == b"$":
                return self.file.read(int(head[1:]) + 2)[:-2].decode()

            return head[1:].decode()

    def publish(self, channel, name, data, *options):
        return self.cmd("FCALL", "rtbus_publish", 1, channel, name,
                        json.dumps(data), *options)


redis = Redis()


# A client that keeps all that it is told, as [namespace, name, *arguments].

class Client(socketio.Client):
    def __init__(self, path="/socket.io/", namespaces=None, auth=None):
        super().__init__(reconnection_delay=0.05, reconnection_delay_max=0.3)

        self.got = []
        clients.append(self)

        for nsp in namespaces or ["/"]:
            for name in ("connect", "connect_error", "disconnect"):
                self.on(name, self.listener(nsp, name), namespace=nsp)

            self.on("*", self.catch_all(nsp), namespace=nsp)

        self.where = dict(socketio_path=path, transports=["websocket"],
                          namespaces=namespaces, auth=auth)

    def listener(self, nsp, name):
        return lambda *args: self.got.append([nsp, name, *args])

    def catch_all(self, nsp):
        return lambda name, *args: self.got.append([nsp, name, *args])

    def open(self, query="", seconds=20):
        self.connect(url + query, wait_timeout=seconds, **self.where)

        return self

    # its threads end a little later

    def close(self):
        reader = self.eio.read_loop_task
        self.disconnect()
        reader.join()

    def all(self, name, nsp="/"):
        return [e[2:] for e in list(self.got) if e[0] == nsp and e[1] == name]

    def first(self, name, nsp="/"):
        return (wait("event " + name, lambda: self.all(name, nsp))
                or [[None, None]])[0]

    def cut(self):
        self.eio.ws.sock.shutdown(socket.SHUT_RDWR)


def token(claims):
    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    text = ".".join(encode(json.dumps(part).encode())
                    for part in ({"alg": "HS256", "typ": "JWT"}, claims))

    return text + "." + encode(hmac.new(conf["secret"].encode(), text.encode(),
                                        hashlib.sha256).digest())


def connecting():
    sio = Client().open("?job=basic")
    hello, cursor = sio.first("connected")

    ok(sio.connected, "connect")
    equal(sio.transport(), "websocket", "transport")
    equal(hello["sessionId"], sio.get_sid(), "connected: sessionId")
    equal(cursor, "job:basic@0-0", "connected: cursor")

    ids = [redis.publish("job:basic", "n", {"i": i, "text": "n\u00e9\U0001f600"})
           for i in (1, 2, 3)]

    wait("events", lambda: len(sio.all("n")) >= 3)
    equal(sio.all("n"), [[{"i": i, "text": "n\u00e9\U0001f600"},
                          "job:basic@" + ids[i - 1]] for i in (1, 2, 3)],
          "events")

    redis.cmd("PUBLISH", "job:basic", '{"event":"args","args":[1,"two",[3]]}')
    sio.first("args")
    equal(sio.all("args")[0][:3], [1, "two", [3]], "several arguments")

    sio.close()
    sio.open("?job=basic")
    wait("connected", lambda: len(sio.all("connected")) >= 2)
    redis.publish("job:basic", "n", {"i": 4})
    wait("event", lambda: len(sio.all("n")) >= 4)
    equal(sio.all("n")[3][0], {"i": 4}, "disconnected and connected again")


def acks():
    sio = Client().open()

    equal(sio.call("subscribe", {"channel": "job:acks"}, timeout=20),
          {"ok": True, "channel": "job:acks", "position": "0-0"}, "ack")
    equal(sio.call("subscribe", {"channel": "user:1"}),
          {"ok": False, "error": "forbidden"}, "ack of a refusal")
    equal(sio.call("no-such-event", (1, 2)),
          {"ok": False, "error": "unknown event"}, "unknown event")

    answers = []

    for i in range(5):
        sio.emit("subscribe", {"channel": "job:a%d" % i},
                 callback=lambda data: answers.append(data["channel"]))

    wait("answers", lambda: len(answers) >= 5)
    equal(answers, ["job:a%d" % i for i in range(5)], "callbacks")

    os.kill(conf["redis_pid"], signal.SIGSTOP)

    try:
        sio.call("subscribe", {"channel": "job:late"}, timeout=0.05)
        late = False
    except socketio.exceptions.TimeoutError:
        late = True

    os.kill(conf["redis_pid"], signal.SIGCONT)

    ok(late, "ack that is late")
    equal(sio.call("subscribe", {"channel": "job:next"}),
          {"ok": True, "channel": "job:next", "position": "0-0"},
          "and the next one")


def namespaces():
    sio = Client(namespaces=["/", "/chat"]).open("?job=nsp")

    sio.first("connected", "/")
    sio.first("connected", "/chat")
    ok(sio.get_sid("/") != sio.get_sid("/chat"), "ids of their own")

    sio.call("subscribe", {"channel": "job:chat"}, namespace="/chat")
    redis.publish("job:chat", "n", 1)
    redis.publish("job:nsp", "n", 2)
    wait("events", lambda: sio.all("n") and len(sio.all("n", "/chat")) >= 2)
    sio.call("settled")
    equal([sorted(e[0] for e in sio.all("n", nsp)) for nsp in ("/", "/chat")],
          [[2], [1, 2]], "events of each")

    # it waits for the namespace all the same

    nope = Client(namespaces=["/nope"])

    try:
        nope.open(seconds=1)
        error = None
    except socketio.exceptions.ConnectionError as e:
        error = e

    ok(error, "unknown namespace")
    equal(nope.all("connect_error", "/nope"),
          [[{"message": "Invalid namespace"}]], "and why")


def binary():
    sio = Client().open("?job=bin")
    octets = bytes(range(256))
    large = b"x" * 100000

    sio.first("connected")
    redis.publish("job:bin", "file",
                  {"parts": [{"_placeholder": True, "num": 0},
                             {"_placeholder": True, "num": 1}]},
                  "ATTACHMENTS",
                  json.dumps([base64.b64encode(b).decode()
                              for b in (octets, large)]))

    data, cursor = sio.first("file")
    equal(data, {"parts": [octets, large]}, "binary")
    ok(cursor and cursor.startswith("job:bin@"), "the cursor")

    equal(sio.call("subscribe", {"channel": "job:bin2", "file": octets,
                                 "more": [large[:1000]]}),
          {"ok": True, "channel": "job:bin2", "position": "0-0"},
          "binary from the client")


def users():
    nobody = Client(path="/user/")

    try:
        nobody.open(seconds=1)
    except socketio.exceptions.ConnectionError:
        pass

    equal(nobody.all("connect_error"), [[{"message": "unauthorized"}]],
          "no token")

    ann = Client(path="/user/", auth={"token": token({"sub": "ann"})}).open()

    equal(ann.first("connected")[0]["userId"], "ann", "the user of the token")
    redis.publish("user:ann", "mine", 1)
    equal(ann.first("mine")[0], 1, "her own channel")


# There and back again through a producer.

def commands():
    octets = bytes(range(256))
    sio = Client(path="/echo/", auth={"name": "x"}).open()

    equal(sio.first("auth")[0], {"name": "x"}, "producers know of it")

    for what, *args in (("several arguments", 1, "2", {"3": [False, None]}),
                        ("text", "n\u00e9\U0001f600\n"),
                        ("binary", octets, {"parts": [octets[:1], "x"]})):

        answer = sio.call("message-with-ack", tuple(args))
        equal(answer, args[0] if len(args) == 1 else tuple(args),
              "an answer, " + what)

        n = len(sio.all("message-back"))
        sio.emit("message", tuple(args))
        wait("the event", lambda: len(sio.all("message-back")) > n)
        equal(sio.all("message-back")[n][:len(args)], args,
              "an event, " + what)

    equal(sio.call("message", 1)["ok"], True,
          "no answer is wanted, but Redis has it")

    try:
        sio.call("mute", 1, timeout=0.05)
        late = False
    except socketio.exceptions.TimeoutError:
        late = True

    ok(late, "a producer that does not answer")


# It has no recovery, but it can join again behind what it has; the cursor says
# where that is.

def reconnecting():
    total = 120
    sio = Client()
    seen = []
    place = ["0-0"]

    # each handler has a thread of its own, so the order may be another

    def chunk(data, cursor):
        seen.append(data["index"])

        if data["index"] == max(seen):
            place[0] = cursor.split("@")[1]

        if data["index"] == 30:
            sio.cut()

        if data["index"] == 60:
            with open(conf["pid"]) as f:
                os.kill(int(f.read()), signal.SIGHUP)

    def join():
        sio.got.append(["/", "joins"])
        sio.emit("subscribe", {"channel": "job:long", "after": place[0]})

    sio.on("connect", join)
    sio.on("chunk", chunk)
    sio.open()

    for i in range(total):
        redis.publish("job:long", "chunk", {"index": i + 1})
        time.sleep(0.004)

    wait("all of it", lambda: len(seen) >= total
         and len(sio.all("joins")) >= 3 and "/" in sio.namespaces)
    sio.call("settled")

    equal(sorted(seen), list(range(1, total + 1)), "each index once")
    ok(len(sio.all("joins")) >= 3, "the connection broke twice")
    equal(len(sio.all("server:shutdown")), 1, "a goodbye")


def main():
    # a hanging client is not to hang the suite

    watchdog = threading.Timer(120, lambda: os._exit(1))
    watchdog.daemon = True
    watchdog.start()

    try:
        for scenario in (connecting, acks, namespaces, binary, users,
                         reconnecting, commands):
            scenario()

    except Exception:
        ok(False, "no exception")
        print("# " + traceback.format_exc().replace("\n", "\n# "))

    for sio in clients:
        sio.disconnect()

    print("1..%d" % tests)
    sys.stdout.flush()
    os._exit(0)


main()
