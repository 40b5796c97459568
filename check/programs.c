
/* nginx and Redis: configured, started, counted, ended. */


#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "answers.h"
#include "faults.h"
#include "programs.h"
#include "proxy.h"
#include "verdict.h"
#include "watch.h"


#define FULL  512                       /* connections of a worker */


programs_t  prog;


static int free_port(rng_t *r);


void
programs_init(void)
{
    rng_t  r;

    /* a daemon's parent leaves it, and so does a master that is upgraded */

    prctl(PR_SET_CHILD_SUBREAPER, 1);

    r.state = (uint64_t) getpid() << 32 ^ (uint64_t) time(NULL);

    prog.redis_port = free_port(&r);
    prog.nginx_port = free_port(&r);
    prog.beside_port = free_port(&r);

    prog.way_port = fault_asked("slow") ? proxy_init() : prog.redis_port;
    prog.upstream_port = upstream_init();
    prog.connections = fault_asked("full") ? FULL : 4096;
}


/* not one that the kernel gives to outgoing connections; held by UDP */

static int
free_port(rng_t *r)
{
    int                  i, one = 1, fd, port;
    struct sockaddr_in   sin;

    for (i = 0; i < 1000; i++) {
        port = 10000 + below(r, 22000);

        memset(&sin, 0, sizeof(sin));
        sin.sin_family = AF_INET;
        sin.sin_port = htons(port);
        sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

        fd = socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, 0);

        if (bind(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1) {
            close(fd);
            continue;
        }

        fd = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(int));

        if (bind(fd, (struct sockaddr *) &sin, sizeof(sin)) == 0) {
            close(fd);
            return port;
        }

        close(fd);
    }

    die("no free port");
    return 0;
}


static pid_t
spawn(char *const argv[], const char *log)
{
    int    fd;
    pid_t  pid, parent;

    parent = getpid();
    pid = fork();

    if (pid == -1) {
        die("fork: %s", strerror(errno));
    }

    if (pid) {
        return pid;
    }

    /* nothing stays behind, whatever becomes of us */

    prctl(PR_SET_PDEATHSIG, SIGTERM);

    if (getppid() != parent) {
        _exit(1);
    }

    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);

    fd = open(log, O_WRONLY|O_CREAT|O_APPEND, 0644);

    if (fd != -1) {
        dup2(fd, 1);
        dup2(fd, 2);
    }

    fd = open("/dev/null", O_RDONLY);
    dup2(fd, 0);

    /* to nginx it means sockets that it inherits */

    unsetenv("NGINX");

    setenv("ASAN_OPTIONS", "detect_odr_violation=0", 0);
    setenv("UBSAN_OPTIONS", "print_stacktrace=1:print_summary=1", 0);

    execvp(argv[0], argv);

    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}


void
redis_start(void)
{
    char  port[16], log[PATH_MAX], dir[PATH_MAX];

    snprintf(port, sizeof(port), "%d", prog.redis_port);
    snprintf(dir, sizeof(dir), "%s", opt.dir);
    snprintf(log, sizeof(log), "%s/redis.log", opt.dir);

    char *const argv[] = {
        (char *) opt.redis, "--port", port, "--bind", "127.0.0.1",
        "--dir", dir, "--save", "", "--appendonly", "yes",
        "--appendfsync", (char *) opt.aof, "--daemonize", "no", NULL
    };

    prog.redis_pid = spawn(argv, log);
    prog.redis_start = 0;
    prog.redis_kill = 0;
}


static pid_t
nginx_run(const char *name, const char *log, int port, const char *params,
    int daemon)
{
    char   file[PATH_MAX], conf[64], err[64], dir[PATH_MAX];
    FILE  *f;

    snprintf(dir, sizeof(dir), "%s/", opt.dir);
    snprintf(conf, sizeof(conf), "%s.conf", name);
    snprintf(err, sizeof(err), "%s.log", log);

    snprintf(file, sizeof(file), "%s/%s", opt.dir, conf);
    f = fopen(file, "w");

    if (f == NULL) {
        die("%s: %s", file, strerror(errno));
    }

    fprintf(f,
        "load_module %s;\n"
        "%s"
        "daemon %s;\n"
        "env ASAN_OPTIONS; env LSAN_OPTIONS; env UBSAN_OPTIONS;\n"
        "worker_processes %d;\n"
        "pid %s.pid;\n"
        "error_log %s.log %s;\n"
        "events { worker_connections %d; }\n"
        "http {\n"
        "    access_log off;\n"
        "    client_body_temp_path client_body_temp;\n"
        "    proxy_temp_path proxy_temp;\n"
        "    fastcgi_temp_path fastcgi_temp;\n"
        "    uwsgi_temp_path uwsgi_temp;\n"
        "    scgi_temp_path scgi_temp;\n"
        "    rtbus_redis redis://127.0.0.1:%d/0;\n"
        "    rtbus_drain 1s;\n"
        "    rtbus_secret_file secret;\n"
        "    server {\n"
        "        listen 127.0.0.1:%d sndbuf=16k%s;\n"
        "        rtbus_allow job:*;\n"
        "        location = /bus {\n"
        "            rtbus websocket sse;\n"
        "            rtbus_subscribe $arg_a $arg_b $arg_c $arg_d;\n"
        "            rtbus_send_buffer 24k;\n"
        "            rtbus_message_rate 1000r/s;\n"
        "        }\n"
        "        location /socket.io/ {\n"
        "            rtbus socketio;\n"
        "            rtbus_subscribe $arg_a $arg_b $arg_c $arg_d;\n"
        "            rtbus_send_buffer 24k;\n"
        "            rtbus_message_rate 1000r/s;\n"
        "            rtbus_ping 1s 8s;\n"
        "        }\n"
        "        location = /status { rtbus_status; }\n"
        "        location ~ ^/state/(.+)$ { rtbus_state $1; }\n"
        "        location ~ ^/publish/(.+)$ { rtbus_publish $1; }\n"
        "        rtbus_allow answer:*;\n"
        "        location = /answer {\n"
        "            proxy_pass http://127.0.0.1:%d;\n"
        "            proxy_http_version 1.1;\n"
        "            rtbus_capture answer:$arg_id format=openai keep=1h\n"
        "                fail=closed;\n"
        "        }\n"
        "        location = /replay {\n"
        "            rtbus_replay answer:$arg_id after=$arg_n count=index\n"
        "                done=1h id=off;\n"
        "        }\n"
        "    }\n"
        "}\n",
        opt.module, getuid() ? "" : "user root;\n", daemon ? "on" : "off",
        opt.workers, name, log, opt.log, prog.connections, prog.way_port,
        port, params, prog.upstream_port);

    fclose(f);

    char *const argv[] = {
        (char *) opt.nginx, "-p", dir, "-c", conf, "-e", err, NULL
    };

    snprintf(file, sizeof(file), "%s/nginx.out", opt.dir);

    return spawn(argv, file);
}


void
nginx_start(void)
{
    char   file[PATH_MAX];
    pid_t  pid;
    FILE  *f;

    /* one that all workers have in common, also after a reload */

    snprintf(file, sizeof(file), "%s/secret", opt.dir);
    f = fopen(file, "w");

    if (f == NULL || fprintf(f, "%064" PRIx64 "\n", opt.seed) < 0) {
        die("%s: %s", file, strerror(errno));
    }

    fclose(f);

    pid = nginx_run("nginx", "error", prog.nginx_port, "", opt.daemon);

    if (opt.daemon) {
        prog.launcher = pid;

    } else {
        prog.nginx_pid = pid;
    }

    if (opt.nodes > 1) {
        prog.beside_pid = nginx_run("beside", "error_beside", prog.beside_port,
                                 " reuseport", 0);
    }
}


/* whom nginx.pid names; 0: nobody yet */

pid_t
nginx_master(void)
{
    int    pid;
    char   file[PATH_MAX];
    FILE  *f;

    if (!opt.daemon) {
        return prog.nginx_pid;
    }

    snprintf(file, sizeof(file), "%s/nginx.pid", opt.dir);
    f = fopen(file, "r");

    if (f == NULL) {
        return 0;
    }

    if (fscanf(f, "%d", &pid) != 1) {
        pid = 0;
    }

    fclose(f);

    return pid;
}


/* the workers, also those that leave; of both masters, if there are two */

int
workers(pid_t *pids)
{
    int    i, n;
    pid_t  master;

    n = children(prog.nginx_pid, pids, MAX_WORKERS);

    if (prog.nginx_old) {
        n += children(prog.nginx_old, pids + n, MAX_WORKERS - n);
    }

    /* a new master is a child of the old one */

    master = nginx_master();

    for (i = 0; i < n && pids[i] != master; i++) {
        /* void */
    }

    if (i < n) {
        pids[i] = pids[--n];
    }

    return n;
}


/* the same of both nodes */

int
all_workers(pid_t *pids)
{
    int  n;

    n = workers(pids);

    if (prog.beside_pid) {
        n += children(prog.beside_pid, pids + n, MAX_WORKERS - n);
    }

    return n;
}


void
reap(void)
{
    int    status;
    pid_t  pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {

        if (pid == prog.redis_pid) {
            prog.redis_pid = 0;
            prog.redis_kill = 0;

            if (prog.redis_start == 0) {
                die("Redis has ended, see %s/redis.log", opt.dir);
            }

        } else if (pid == prog.nginx_old) {
            prog.nginx_old = 0;

        } else if (pid == prog.launcher) {
            prog.launcher = 0;

            if (status != 0) {
                die("nginx did not start, see %s/nginx.out", opt.dir);
            }

        } else if (pid == prog.nginx_pid) {
            prog.nginx_pid = 0;

            if (run.phase != VERIFY) {
                die("nginx has ended, see %s/error.log", opt.dir);
            }

        } else if (pid == prog.beside_pid) {
            prog.beside_pid = 0;

            if (run.phase != VERIFY) {
                die("nginx has ended, see %s/error_beside.log", opt.dir);
            }
        }
    }
}


static void
wait_end(pid_t *pid, const char *name, int ms)
{
    int64_t  until;

    until = clock_ms() + ms;

    while (*pid && clock_ms() < until) {
        reap();
        usleep(5000);
    }

    if (*pid) {
        violation(NULL, -1, "%s does not end in %d s", name, ms / 1000);
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
        *pid = 0;
    }
}


void
programs_quit(void)
{
    prog.redis_start = INT64_MAX;

    if (prog.nginx_pid) {
        kill(prog.nginx_pid, SIGQUIT);
    }

    if (prog.beside_pid) {
        kill(prog.beside_pid, SIGQUIT);
    }

    if (prog.nginx_old) {
        kill(prog.nginx_old, SIGQUIT);
    }
}


void
programs_end(void)
{
    wait_end(&prog.nginx_pid, "nginx", 15000);
    wait_end(&prog.nginx_old, "the old nginx", 15000);
    wait_end(&prog.beside_pid, "the other nginx", 15000);

    if (prog.redis_pid) {
        kill(prog.redis_pid, SIGTERM);
        wait_end(&prog.redis_pid, "Redis", 10000);
    }
}
