import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Contender `kafka-streams`: the fold of plain.py with Kafka Streams, exactly once, one thread.
 *
 * <p>Its states lie in RocksDB behind Kafka Streams' cache, which coalesces them between two commits, and in the
 * changelog topic; they are the same msgpack as the others'. java.py starts it.
 */
public final class PlainFold implements Processor<byte[], byte[], byte[], byte[]> {
  private static final String STORE = "states";
  private static final int KINDS = 8;
  private final Path mark;
  private ProcessorContext<byte[], byte[]> context;
  private KeyValueStore<byte[], byte[]> store;
  private boolean started;

  private PlainFold(Path mark) {
    this.mark = mark;
  }

  @Override
  public void init(ProcessorContext<byte[], byte[]> context) {
    this.context = context;
    store = context.getStateStore(STORE);
  }

  @Override
  public void process(Record<byte[], byte[]> record) {
    if (!started) {
      started = true;
      firstRecord(mark);
    }
    long[] state = decode(store.get(record.key())); // count, sum, a count for each kind
    ByteBuffer event = ByteBuffer.wrap(record.value()); // kind, amount, time
    state[2 + event.getInt()]++;
    state[0]++;
    state[1] += event.getLong();
    byte[] encoded = encode(state);
    store.put(record.key(), encoded);
    if (state[0] % 5 == 0) {
      var at = context.recordMetadata().orElseThrow();
      byte[] position = (at.partition() + "/" + at.offset() + "/0").getBytes(StandardCharsets.US_ASCII);
      context.forward(record.withValue(encoded).withHeaders(new RecordHeaders().add("position", position)));
    }
  }

  private static byte[] encode(long[] state) {
    ByteBuffer into = ByteBuffer.allocate(2 + 9 * state.length).put((byte) 0x93);
    for (int n = 0; n < state.length; n++) {
      if (n == 2) {
        into.put((byte) (0x90 + KINDS));
      }
      long number = state[n];
      if (number < 1L << 7) {
        into.put((byte) number);
      } else if (number < 1L << 8) {
        into.put((byte) 0xcc).put((byte) number);
      } else if (number < 1L << 16) {
        into.put((byte) 0xcd).putShort((short) number);
      } else if (number < 1L << 32) {
        into.put((byte) 0xce).putInt((int) number);
      } else {
        into.put((byte) 0xcf).putLong(number);
      }
    }
    byte[] encoded = new byte[into.position()];
    into.flip().get(encoded);
    return encoded;
  }

  private static long[] decode(byte[] encoded) {
    long[] state = new long[2 + KINDS];
    if (encoded == null) {
      return state;
    }
    ByteBuffer from = ByteBuffer.wrap(encoded, 1, encoded.length - 1);
    for (int n = 0; n < state.length; n++) {
      if (n == 2) {
        from.get();
      }
      int tag = from.get() & 0xff;
      state[n] =
          switch (tag) {
            case 0xcc -> from.get() & 0xff;
            case 0xcd -> from.getShort() & 0xffff;
            case 0xce -> from.getInt() & 0xffffffffL;
            case 0xcf -> from.getLong();
            default -> tag;
          };
    }
    return state;
  }

  /** Note what Assignment.first_record notes. One thread has all partitions; which comes first does not matter. */
  private static synchronized void firstRecord(Path mark) {
    var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    String seen =
        "{\"pid\": %d, \"cpu_seconds\": %.2f, \"wall\": %.3f}"
            .formatted(
                ProcessHandle.current().pid(),
                system.getProcessCpuTime() / 1e9,
                System.currentTimeMillis() / 1e3);
    try {
      Path fresh = Files.writeString(mark.resolveSibling("mark.new"), seen);
      if (!Files.exists(mark)) {
        Files.move(fresh, mark, StandardCopyOption.ATOMIC_MOVE);
      }
    } catch (java.io.IOException error) {
      throw new java.io.UncheckedIOException(error);
    }
  }

  /** Run until a signal. Arguments: bootstrap, group, source, out, mark, state folder, milliseconds between commits. */
  public static void main(String[] given) {
    Properties settings = new Properties();
    settings.putAll(
        Map.of(
            "bootstrap.servers", given[0],
            "application.id", given[1],
            "state.dir", given[5],
            "processing.guarantee", "exactly_once_v2",
            "commit.interval.ms", given[6],
            "consumer.session.timeout.ms", "10000",
            "consumer.heartbeat.interval.ms", "1000"));
    Serde<byte[]> bytes = Serdes.ByteArray();
    StreamsBuilder builder = new StreamsBuilder();
    builder.addStateStore(
        Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), bytes, bytes).withCachingEnabled());
    builder.stream(given[2], Consumed.with(bytes, bytes))
        .process(() -> new PlainFold(Path.of(given[4])), STORE)
        .to(given[3], Produced.with(bytes, bytes));
    KafkaStreams streams = new KafkaStreams(builder.build(settings), settings);
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
    streams.start();
  }
}
