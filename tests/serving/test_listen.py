import socket

from dmnplus.serving.server import listen
from dmnplus.serving.settings import ServerConfig


def test_answers_do_not_wait_for_the_clients_acknowledgement():
    with (
        listen(ServerConfig(port=0)) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
