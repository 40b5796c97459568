# The client of websocket-driver, which Rails and Faye are built on, for
# ws_ruby.t: says on stdout what it gets.  Its argument is the URL.

require 'socket'
require 'uri'
require 'websocket/driver'

class Wire
  attr_reader :url

  def initialize(url)
    @url = url
    uri = URI(url)
    @socket = TCPSocket.new(uri.host, uri.port)
  end

  def write(bytes)
    @socket.write(bytes)
  end

  def read
    @socket.readpartial(4096)
  end
end

$stdout.sync = true

wire = Wire.new(ARGV[0])
driver = WebSocket::Driver.client(wire)

driver.on(:open) do
  puts 'open'
  driver.text('{"event":"subscribe","data":{"channel":"job:1"},"ack":1}')
end

driver.on(:message) { |e| puts e.data }
driver.on(:error) { |e| puts "error #{e.message}" }
driver.on(:close) { |e| puts "close #{e.code}"; exit }

driver.start

loop { driver.parse(wire.read) }
