#!/usr/bin/perl

# Tests for the id that rtbus_command checks: whoever reads the same data takes
# the same id from it, the first of two members, the last one, or one in another
# case; and producers need not read it at all, the id stands in a field.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Redis;
use Test::RTBus::SocketIO;
use Test::RTBus::WebSocket;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/ http rewrite /)
	->has_daemon('redis-server')->plan(65);

my $redis = Test::RTBus::Redis->new(dir => $t->testdir());
my $redis_url = $redis->url();

$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    rtbus_redis    $redis_url;
    rtbus_user     \$arg_user;
    rtbus_command  cancel  job=jobId owner;
    rtbus_command  start   job=taskId claim;
    rtbus_command  named   job=jobId;
    rtbus_command  plain;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        location /socket.io/ {
            rtbus socketio;
        }

        location = /ws {
            rtbus websocket;
        }

        location ~ ^/submit/(.*)\$ {
            rtbus_submit \$1;
        }
    }
}

EOC

$t->run();
wait_redis($t);

wait_for { !ref $redis->try_cmd('FCALL_RO', 'rtbus_version', 0) } 'library';

my $stream = 'rtbus:commands';
my $n = 0;

my $ws = Test::RTBus::WebSocket->connect(path => '/ws?user=bob');
my $io = Test::RTBus::SocketIO->connect(path => '/socket.io/?user=bob');
$io->join_nsp();

my %send = (
	WebSocket => \&over_ws,
	'Socket.IO' => \&over_sio,
	HTTP => \&over_http,
);

$redis->cmd('HSET', '{job:43}:state', 'userId', 'alice');
$redis->cmd('HSET', '{job:42}:state', 'userId', 'bob');
$redis->cmd('HSET', "{job:$_}:state", 'userId', 'bob')
	for '9007199254740992', '9007199254740993';

###############################################################################

# one reading, or none

for my $name (sort keys %send) {
	my $send = $send{$name};

	for my $case (
		[ 'cancel', '{"jobId":"43","jobId":"42"}', 'bad jobId' ],
		[ 'cancel', '{"jobId":"42","jobId":"43"}', 'bad jobId' ],
		[ 'cancel', '{"jobId":"42","jobId":"42"}', 'bad jobId' ],
		[ 'cancel', '{"jobId":"42","JobID":"43"}', 'bad jobId' ],
		[ 'cancel', '{"jobId":"42","x":1,"j\u006fbid":"43"}',
			'bad jobId' ],
		[ 'cancel', '{"JOBID":"42"}', 'bad jobId' ],
		[ 'named', '{"jobId":"42","jobid":null}', 'bad jobId' ],
		[ 'start', "{\"taskId\":\"n\",\"ta\xc5\xbf\xe2\x84\xaaId\":\"43\"}",
			'bad jobId' ],
		[ 'cancel', '{"jobId":9007199254740993}', 'bad jobId' ],
		[ 'cancel', '9007199254740993', 'bad jobId' ],
		[ 'cancel', '{"jobId":18446744073709551616}', 'bad jobId' ],
		[ 'plain', '{"ackId":"a","ackId":"b"}', 'bad ackId' ],
		[ 'plain', '{"ackId":"a","AckId":"b"}', 'bad ackId' ],
	)
	{
		my ($event, $data, $error) = @$case;

		is($send->($event, $data), $error, "$name: $event $data");
	}
}

is($redis->cmd('XLEN', $stream), 0, 'nothing was sent');
is($redis->cmd('EXISTS', '{job:n}:state'), 0, 'nor claimed');

# the id beside the data

for my $name (sort keys %send) {
	my $send = $send{$name};

	for my $case (
		[ 'cancel', '{"jobId":"42","data":{"jobId":"43"}}', '42' ],
		[ 'cancel', '{"\u006aobId":"\u0034\u0032"}', '42' ],
		[ 'cancel', '"42"', '42' ],
		[ 'cancel', '{"jobId":9007199254740992}', '9007199254740992' ],
		[ 'cancel', '{"jobId":"9007199254740993"}', '9007199254740993' ],
		[ 'start', '{"taskId":7,"jobId":"43"}', '7' ],
		[ 'named', '{"jobId":"a:b"}', 'a:b' ],
		[ 'plain', '{"jobId":"42","JobId":"43"}', undef ],
	)
	{
		my ($event, $data, $job) = @$case;
		my $what = $send->($event, $data);

		is($what ? $what : $redis->take($stream)->{job}, $job,
			"$name: job of $event $data");
	}
}

###############################################################################

sub over_ws {
	my ($event, $data) = @_;

	$ws->send_text("{\"event\":\"$event\",\"data\":$data,\"ack\":"
		. ++$n . '}');

	return $ws->wait_ack($n)->{data}{error};
}

sub over_sio {
	my ($event, $data) = @_;

	$io->send_text('42' . ++$n . "[\"$event\",$data]");

	return $io->wait_ack($n)->{data}[0]{error};
}

sub over_http {
	my ($event, $data) = @_;

	my $c = Test::RTBus::Client->open_client(method => 'POST');

	$c->send_raw("POST /submit/$event?user=bob HTTP/1.1\r\nHost: localhost\r\n"
		. "Content-Type: application/json\r\nContent-Length: "
		. length($data) . "\r\n\r\n$data");

	$c->read_body() if $c->read_head();

	return json_decode($c->body())->{error};
}

###############################################################################
