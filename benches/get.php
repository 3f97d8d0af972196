<?php

/**
 * GETs of one environment from PHP: antenv and PHP's own curl. Prints its figures as the C programs here do.
 *
 * php get.php PEER HOW URL ID LOAD SECONDS
 *
 * PEER: antenv, or curl, which decodes the JSON and no more. HOW: "calls" makes one after the other, "flight" has LOAD in
 * flight; "first" loads the classes and makes one call.
 */

declare(strict_types=1);

use Antenv\Client;

[, $peer, $how, $url, $identifier, $load, $seconds] = $argv;
[$load, $seconds] = [(int) $load, (float) $seconds];
$started = hrtime(true);

function processor_seconds(): float
{
    $usage = getrusage();
    $seconds = static fn (string $of): float => $usage["ru_$of.tv_sec"] + $usage["ru_$of.tv_usec"] / 1e6;

    return $seconds('utime') + $seconds('stime');
}

function resident_kb(): int
{
    return (int) explode(' ', (string) file_get_contents('/proc/self/statm'))[1] * 4;
}

/** Returns a curl handle for the request that antenv makes. */
function handle(string $url, string $identifier): CurlHandle
{
    $handle = curl_init("$url/v1/environments/$identifier");
    curl_setopt_array($handle, [
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTPHEADER => [
            'accept: application/json',
            'authorization: Bearer k',
            'anthropic-version: 2026-10-21',
            'anthropic-beta: managed-agents-2026-04-01',
        ],
        CURLOPT_CAINFO => (string) getenv('SSL_CERT_FILE'),
        CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_2TLS,
        CURLOPT_PIPEWAIT => true,
        CURLOPT_FAILONERROR => true,
    ]);

    return $handle;
}

/** Decodes a response of curl's. */
function decoded(string|bool|null $body): void
{
    json_decode((string) $body, false, 512, JSON_THROW_ON_ERROR);
}

/** Makes calls one after the other until a time; returns their latencies in nanoseconds. */
function calls(callable $call, int $until): array
{
    $latencies = [];
    for ($begun = hrtime(true); $begun < $until; $begun = $ended) {
        $call();
        $ended = hrtime(true);
        $latencies[] = $ended - $begun;
    }

    return $latencies;
}

/** Keeps calls of antenv in flight until a time; returns their latencies. */
function flight_of_antenv(Client $client, string $identifier, int $load, int $until): array
{
    $latencies = [];
    $queue = $client->queue();
    $submit = static fn () => $queue->submit('environments.retrieve', ['environment_id' => $identifier], tag: hrtime(true));
    foreach (range(1, $load) as $ignored) {
        $submit();
    }
    foreach ($queue as $completion) {
        $completion->result(Antenv\Types\Environment::class);
        $now = hrtime(true);
        $latencies[] = $now - $completion->tag;
        if ($now < $until) {
            $submit();
        }
    }

    return $latencies;
}

/** Keeps calls of curl in flight until a time; returns their latencies. */
function flight_of_curl(CurlMultiHandle $multi, array $handles, int $until): array
{
    $latencies = $begun = [];
    foreach ($handles as $handle) {
        curl_multi_add_handle($multi, $handle);
        $begun[spl_object_id($handle)] = hrtime(true);
    }
    do {
        curl_multi_exec($multi, $running);
        while ($done = curl_multi_info_read($multi)) {
            $handle = $done['handle'];
            $done['result'] === CURLE_OK || throw new RuntimeException(curl_strerror($done['result']));
            decoded(curl_multi_getcontent($handle));
            $now = hrtime(true);
            $latencies[] = $now - $begun[spl_object_id($handle)];
            curl_multi_remove_handle($multi, $handle);
            if ($now < $until) {
                curl_multi_add_handle($multi, $handle);
                $begun[spl_object_id($handle)] = $now;
                $running++;
            }
        }
        $running > 0 && curl_multi_select($multi, 1);
    } while ($running > 0);

    return $latencies;
}

$before = resident_kb();
if ($peer === 'antenv') {
    require dirname(__DIR__) . '/bindings/php/autoload.php';
    $client = new Client(apiKey: 'k', baseURL: $url);
    $call = static fn () => $client->beta->environments->retrieve($identifier);
    $flight = static fn (int $until): array => flight_of_antenv($client, $identifier, $load, $until);
} else {
    $handle = handle($url, $identifier);
    $call = static function () use ($handle): void {
        $body = curl_exec($handle);
        $body !== false || throw new RuntimeException(curl_error($handle));
        decoded($body);
    };
    $multi = curl_multi_init();
    $handles = array_map(static fn (): CurlHandle => handle($url, $identifier), range(1, $load));
    $flight = static fn (int $until): array => flight_of_curl($multi, $handles, $until);
}
if ($how === 'first') {
    $call();
    $figures = ['first_ms' => (hrtime(true) - $started) / 1e6, 'first_kb' => resident_kb() - $before];
} else {
    $measured = $how === 'calls' ? static fn (int $until): array => calls($call, $until) : $flight;
    $measured(hrtime(true) + (int) ($seconds * 0.2e9)); // to warm up
    [$began, $used] = [hrtime(true), processor_seconds()];
    $latencies = $measured($began + (int) ($seconds * 1e9));
    [$wall, $cpu] = [(hrtime(true) - $began) / 1e9, processor_seconds() - $used];
    sort($latencies);
    $many = count($latencies);
    $figures = [
        'rps' => $many / $wall,
        'cpu_us' => $cpu / $many * 1e6,
        'p50_us' => $latencies[intdiv($many, 2)] / 1e3,
        'p99_us' => $latencies[intdiv($many * 99, 100)] / 1e3,
        'rss_kb' => resident_kb(),
    ];
}
echo json_encode($figures), "\n";
