from prometheus_client.parser import text_string_to_metric_families

from clouds.serving.monitoring import Metrics


def test_metrics_are_prometheus_text():
    metrics = Metrics()
    metrics.requests.labels("/", 200).inc()
    metrics.waiting.set_function(lambda: 7)
    metrics.add_batch(3, 0.2)
    families = text_string_to_metric_families(metrics.text().decode())
    samples = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }
    assert samples["clouds_requests_total", ("/", "200")] == 1
    assert samples["clouds_waiting_images", ()] == 7
    assert samples["clouds_batch_images_sum", ()] == 3
    assert samples["clouds_batch_seconds_bucket", ("0.25",)] == 1
    assert samples["process_resident_memory_bytes", ()] > 0


def test_two_servers_count_separately():
    first, second = Metrics(), Metrics()
    first.images.labels("answered").inc()
    assert b'outcome="answered"' not in second.text()
