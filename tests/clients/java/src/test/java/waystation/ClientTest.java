package waystation;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What a Java program expects of a broker; the broker is at WAYSTATION_E2E_URL. */
@Timeout(60)
class ClientTest {
    private static final long DEADLINE_MS = 20_000;

    private Connection connection;
    private Channel channel;

    @BeforeEach
    void connect() throws Exception {
        String url = System.getenv("WAYSTATION_E2E_URL");
        assertNotNull(url, "WAYSTATION_E2E_URL names no broker: run `cargo xtask test --only java`, or set it");
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(url);
        factory.setAutomaticRecoveryEnabled(false);
        connection = factory.newConnection();
        channel = connection.createChannel();
    }

    @AfterEach
    void close() throws IOException {
        if (connection.isOpen()) {
            connection.close();
        }
    }

    private static String named(String hint) {
        return hint + "-" + UUID.randomUUID();
    }

    private String exclusiveQueue(Map<String, Object> arguments) throws IOException {
        return channel.queueDeclare("", false, true, false, arguments).getQueue();
    }

    private void send(String queue, String body) throws IOException {
        channel.basicPublish("", queue, null, body.getBytes(UTF_8));
    }

    /** The next message of a queue, waiting until it is there. */
    private GetResponse get(String queue, boolean autoAck) throws Exception {
        long end = System.currentTimeMillis() + DEADLINE_MS;
        while (true) {
            GetResponse found = channel.basicGet(queue, autoAck);
            if (found != null) {
                return found;
            }
            assertTrue(System.currentTimeMillis() < end, "no message came to " + queue);
            Thread.sleep(20);
        }
    }

    private static String text(byte[] body) {
        return new String(body, UTF_8);
    }

    private static Delivery next(BlockingQueue<Delivery> deliveries) throws InterruptedException {
        Delivery delivery = deliveries.poll(DEADLINE_MS, TimeUnit.MILLISECONDS);
        assertNotNull(delivery, "no delivery came");
        return delivery;
    }

    @Test
    void theBasicProgram() throws Exception {
        String queue = named("basic");
        channel.queueDeclare(queue, true, false, false, null);
        channel.basicPublish("", queue, MessageProperties.PERSISTENT_TEXT_PLAIN, "hello".getBytes(UTF_8));
        BlockingQueue<Delivery> deliveries = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, false, (tag, delivery) -> deliveries.add(delivery), tag -> { });
        Delivery delivery = next(deliveries);
        assertEquals("hello", text(delivery.getBody()));
        assertEquals("text/plain", delivery.getProperties().getContentType());
        assertFalse(delivery.getEnvelope().isRedeliver());
        channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
        channel.queueDelete(queue);
    }

    @Test
    void confirmsComeForEveryPublish() throws Exception {
        String queue = exclusiveQueue(null);
        channel.confirmSelect();
        for (int n = 0; n < 1000; n++) {
            send(queue, Integer.toString(n));
        }
        channel.waitForConfirmsOrDie(DEADLINE_MS);
        assertEquals(1000, channel.messageCount(queue));
        for (int n = 0; n < 1000; n++) {
            assertEquals(Integer.toString(n), text(get(queue, true).getBody()));
        }
    }

    @Test
    void prefetchBoundsWhatIsUnsettled() throws Exception {
        String queue = exclusiveQueue(null);
        channel.basicQos(2);
        BlockingQueue<Delivery> deliveries = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, false, (tag, delivery) -> deliveries.add(delivery), tag -> { });
        for (int n = 0; n < 5; n++) {
            send(queue, Integer.toString(n));
        }
        assertEquals("0", text(next(deliveries).getBody()));
        Delivery second = next(deliveries);
        assertEquals("1", text(second.getBody()));
        assertEquals(3, channel.messageCount(queue));
        assertNull(deliveries.poll(200, TimeUnit.MILLISECONDS));
        channel.basicAck(second.getEnvelope().getDeliveryTag(), true);
        assertEquals("2", text(next(deliveries).getBody()));
        assertEquals("3", text(next(deliveries).getBody()));
    }

    @Test
    void publishAndSubscribe() throws Exception {
        String exchange = named("logs");
        channel.exchangeDeclare(exchange, "fanout", false, true, null);
        List<String> queues = new ArrayList<>();
        for (int n = 0; n < 3; n++) {
            String queue = exclusiveQueue(null);
            channel.queueBind(queue, exchange, "");
            queues.add(queue);
        }
        channel.basicPublish(exchange, "", null, "to all".getBytes(UTF_8));
        for (String queue : queues) {
            assertEquals("to all", text(get(queue, true).getBody()));
        }
    }

    @Test
    void routingAndTopics() throws Exception {
        String queue = exclusiveQueue(null);
        channel.queueBind(queue, "amq.topic", "java." + queue + ".#");
        channel.queueBind(queue, "amq.direct", "direct-" + queue);
        channel.basicPublish("amq.topic", "java." + queue + ".a.b", null, "topic".getBytes(UTF_8));
        channel.basicPublish("amq.topic", "java.other", null, "elsewhere".getBytes(UTF_8));
        channel.basicPublish("amq.direct", "direct-" + queue, null, "direct".getBytes(UTF_8));
        assertEquals("topic", text(get(queue, true).getBody()));
        assertEquals("direct", text(get(queue, true).getBody()));
        assertNull(channel.basicGet(queue, true));
    }

    @Test
    void rpc() throws Exception {
        String requests = exclusiveQueue(null);
        Channel server = connection.createChannel();
        server.basicConsume(requests, false, (tag, request) -> {
            AMQP.BasicProperties asked = request.getProperties();
            AMQP.BasicProperties reply =
                new AMQP.BasicProperties.Builder().correlationId(asked.getCorrelationId()).build();
            String answer = "re: " + text(request.getBody());
            server.basicPublish("", asked.getReplyTo(), reply, answer.getBytes(UTF_8));
            server.basicAck(request.getEnvelope().getDeliveryTag(), false);
        }, tag -> { });
        String replies = exclusiveQueue(null);
        BlockingQueue<Delivery> answers = new LinkedBlockingQueue<>();
        channel.basicConsume(replies, true, (tag, delivery) -> answers.add(delivery), tag -> { });
        AMQP.BasicProperties call = new AMQP.BasicProperties.Builder().replyTo(replies).correlationId("c7").build();
        channel.basicPublish("", requests, call, "question".getBytes(UTF_8));
        Delivery answer = next(answers);
        assertEquals("re: question", text(answer.getBody()));
        assertEquals("c7", answer.getProperties().getCorrelationId());
    }

    @Test
    void aRejectedMessageBecomesADeadLetter() throws Exception {
        String dead = exclusiveQueue(null);
        String queue = exclusiveQueue(Map.of("x-dead-letter-exchange", "", "x-dead-letter-routing-key", dead));
        send(queue, "bad");
        channel.basicNack(get(queue, false).getEnvelope().getDeliveryTag(), false, false);
        GetResponse letter = get(dead, true);
        assertEquals("bad", text(letter.getBody()));
        List<?> deaths = (List<?>) letter.getProps().getHeaders().get("x-death");
        Map<?, ?> death = (Map<?, ?>) deaths.get(0);
        assertEquals("rejected", death.get("reason").toString());
        assertEquals(queue, death.get("queue").toString());
        assertEquals(1L, death.get("count"));
    }

    @Test
    void transactions() throws Exception {
        String queue = exclusiveQueue(null);
        channel.txSelect();
        send(queue, "kept");
        channel.txCommit();
        send(queue, "dropped");
        channel.txRollback();
        assertEquals("kept", text(get(queue, true).getBody()));
        assertNull(channel.basicGet(queue, true));
        channel.txCommit();
    }

    @Test
    void aConsumerHearsThatItsQueueIsGone() throws Exception {
        String queue = exclusiveQueue(null);
        BlockingQueue<String> cancelled = new LinkedBlockingQueue<>();
        String tag = channel.basicConsume(queue, true, (t, delivery) -> { }, cancelled::add);
        connection.createChannel().queueDelete(queue);
        assertEquals(tag, cancelled.poll(DEADLINE_MS, TimeUnit.MILLISECONDS));
    }

    @Test
    void anErrorClosesTheChannelNotTheConnection() throws Exception {
        IOException error = assertThrows(IOException.class, () -> channel.queueDeclarePassive(named("missing")));
        ShutdownSignalException cause = (ShutdownSignalException) error.getCause();
        assertEquals(404, ((AMQP.Channel.Close) cause.getReason()).getReplyCode());
        assertFalse(channel.isOpen());
        assertTrue(connection.isOpen());
        channel = connection.createChannel();
        String queue = exclusiveQueue(null);
        send(queue, "fine");
        assertEquals("fine", text(get(queue, true).getBody()));
    }

    @Test
    void aLargeMessage() throws Exception {
        String queue = exclusiveQueue(null);
        byte[] body = new byte[5 << 20];
        new Random(1).nextBytes(body);
        channel.basicPublish("", queue, null, body);
        assertArrayEquals(body, get(queue, true).getBody());
    }
}
