import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The reference job of the benchmark (streams/bench/peers/job.py) on Kafka Streams: the same rows, the same events.
 *
 * Arguments: bootstrap servers, folder for state.
 */
public final class ReferenceJob implements FixedKeyProcessor<byte[], byte[], byte[]> {
    private static final String CHECKS = "bench.streams.checks", EVENTS = "bench.streams.events", STORE = "members";
    private static final int KEPT = 32;
    private static final Map<String, Integer> PERCENT = Map.of("GROCERY", 150, "PRODUCE", 200, "DRUG GM", 125);
    private static final ObjectMapper JSON = new ObjectMapper();

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Check(
            String outlet, String till, @JsonProperty("business_date") String day, String receipt, String at, List<Line> lines) {
        String id() {
            return outlet + "/" + till + "/" + day + "/" + receipt;
        }
    }

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Line(@JsonProperty("amount_minor") long amount, @JsonProperty("discount_minor") long discount, String category) {
        long points() {
            String group = category == null ? "" : category.split("/", 2)[0];
            return Math.floorDiv((amount - discount) * PERCENT.getOrDefault(group, 100), 5000L);
        }
    }

    record Event(
            String specversion, String id, String source, String type, String subject, String time, Data data) {}

    record Data(@JsonProperty("check_id") String checkId, long points, long balance, String outlet) {}

    private FixedKeyProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], byte[]> rows;

    @Override
    public void init(FixedKeyProcessorContext<byte[], byte[]> context) {
        this.context = context;
        this.rows = context.getStateStore(STORE);
    }

    @Override
    public void process(FixedKeyRecord<byte[], byte[]> record) {
        try {
            Check check = JSON.readValue(record.value(), Check.class);
            byte[] row = rows.get(record.key());
            List<String> ids = row == null ? new ArrayList<>() : new ArrayList<>(Arrays.asList(text(row, 8).split("\n")));
            if (ids.contains(check.id())) {
                return;
            }
            long points = check.lines().stream().mapToLong(Line::points).sum();
            long balance = points + (row == null ? 0 : ByteBuffer.wrap(row).getLong());
            ids.add(check.id());
            rows.put(record.key(), packed(balance, ids.subList(Math.max(0, ids.size() - KEPT), ids.size())));
            context.forward(record.withValue(event(text(record.key(), 0), check, points, balance)));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static byte[] event(String member, Check check, long points, long balance) throws IOException {
        Data data = new Data(check.id(), points, balance, check.outlet());
        return JSON.writeValueAsBytes(new Event(
                "1.0", member + "/" + check.id(), "/loystream/bench/peer", "LOY_POINT_ACCRUAL", member, check.at(), data));
    }

    private static byte[] packed(long balance, List<String> ids) {
        byte[] lines = String.join("\n", ids).getBytes(StandardCharsets.UTF_8);
        return ByteBuffer.allocate(8 + lines.length).putLong(balance).put(lines).array();
    }

    private static String text(byte[] bytes, int from) {
        return new String(bytes, from, bytes.length - from, StandardCharsets.UTF_8);
    }

    public static void main(String[] arguments) {
        Serde<byte[]> bytes = Serdes.ByteArray();
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), bytes, bytes).withCachingEnabled());
        builder.stream(CHECKS, Consumed.with(bytes, bytes))
                .processValues(ReferenceJob::new, STORE)
                .to(EVENTS, Produced.with(bytes, bytes));
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[1]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "bench-streams");
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.AT_LEAST_ONCE);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.producerPrefix("acks"), "all");
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
