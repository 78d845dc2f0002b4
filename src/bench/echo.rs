//! A server that reads the same frames as a broker and answers them without storing anything, on the same runtime: what
//! a broker could reach at most.

use std::io::{self, Write as _};

use bytes::{Buf, BytesMut};
use castmq_protocol::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_protocol::native::frame::{Frames, PREFACE, decode_header, encode_frame};
use castmq_protocol::native::response::{BatchSent, SendStatus, Sent};
use castmq_protocol::native::{
    ClientHeader, Limits, Request, Response, ServerHeader, VERSION, Welcome,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::BenchError;
use super::wire::MAX_FRAME_BYTES;

/// Serves until the process is killed.
pub(crate) async fn serve(address: &str) -> Result<(), BenchError> {
    let listener = TcpListener::bind(address).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "castmq ready: broker {}", listener.local_addr()?)?;
    out.flush()?;
    drop(out);
    loop {
        let (socket, _) = listener.accept().await?;
        actix_rt::spawn(async move {
            // The end of a connection is the end of a round.
            let _ = echo(socket).await;
        });
    }
}

async fn echo(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut preface = PREFACE;
    socket.read_exact(&mut preface).await?;
    let mut input = BytesMut::with_capacity(256 * 1024);
    let mut output = BytesMut::new();
    while socket.read_buf(&mut input).await? > 0 {
        let mut frames = Frames::new(&input, MAX_FRAME_BYTES);
        for frame in frames.by_ref() {
            let frame = frame.map_err(io::Error::other)?;
            let (header, _) = decode_header::<ClientHeader>(frame).map_err(io::Error::other)?;
            let header = ServerHeader {
                correlation: header.correlation,
                response: answer(&header.request),
            };
            encode_frame(&header, &[], &mut output);
        }
        let consumed = frames.consumed();
        input.advance(consumed);
        input.reserve(256 * 1024);
        socket.write_all(&output).await?;
        output.clear();
    }
    Ok(())
}

fn answer(request: &Request) -> Response {
    match request {
        Request::Send(_) => Response::Sent(Sent {
            status: SendStatus::Stored,
            queue: QueueId(0),
            queue_offset: QueueOffset(0),
            physical_offset: PhysicalOffset(0),
        }),
        Request::SendBatch(batch) => Response::BatchSent(BatchSent {
            status: SendStatus::Stored,
            queue: QueueId(0),
            first_queue_offset: QueueOffset(0),
            first_physical_offset: PhysicalOffset(0),
            messages: batch.messages,
        }),
        Request::Hello(_) => Response::Welcome(welcome()),
        Request::AnnounceTopic { alias, .. } => Response::TopicAnnounced {
            alias: *alias,
            write_queues: 4,
            read_queues: 4,
        },
        _ => Response::Done,
    }
}

fn welcome() -> Welcome {
    let no_limit = u32::MAX;
    Welcome {
        version: VERSION,
        software: "castmq echo".to_owned(),
        cluster: String::new(),
        broker: "echo".to_owned(),
        broker_id: 0,
        store_host: String::new(),
        limits: Limits {
            max_frame_bytes: no_limit,
            max_message_bytes: no_limit,
            max_properties_bytes: no_limit,
            window_bytes: no_limit,
            max_aliases: no_limit,
            idle_timeout_ms: no_limit,
        },
    }
}
