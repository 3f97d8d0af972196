<?php

declare(strict_types=1);

namespace Antenv\Testing;

use Antenv\Client;
use Antenv\Json;
use Antenv\Types\Environment;
use Antenv\Types\Session;
use Antenv\Types\Work;
use Antenv\Uncopyable;
use Antenv\Worker;

/**
 * An emulator of the API on a free port of 127.0.0.1, for the tests of programs that use antenv.
 *
 *     $emulator = new Antenv\Testing\Emulator();
 *     $emulator->client()->beta->environments->create(name: 'tests');
 *
 * It is the program `antenv-emulator`: the one that the environment variable ANTENV_EMULATOR names, or the first on
 * the PATH. `make install` installs it, and so does `cargo install --path emulator`, both in antenv's repository. It
 * ends when this object is destroyed, by `stop()`, and with this process, even if that crashes or is killed.
 */
final class Emulator
{
    use Uncopyable;

    /** Its address: a `baseURL` for clients. */
    public readonly string $url;
    /**
     * The file of the certificate to trust when it was started with "--tls", for a client's `caFile`; otherwise null.
     */
    public readonly ?string $caFile;

    /** @var resource|null */
    private mixed $process;
    /** @var array<int, resource> */
    private array $pipes = [];
    private readonly int $owner;

    /**
     * Starts the emulator and waits until it listens.
     *
     * @param list<string> $options Options of the program, such as `['--auth', 'any']` to accept every credential, or
     *     `['--lease-ttl', '1']` for leases of a second; `antenv-emulator --help` lists them.
     * @param string|null $program The program. null: ANTENV_EMULATOR, then `antenv-emulator` on the PATH.
     *
     * @throws \RuntimeException There is no such program, or it did not start.
     */
    public function __construct(array $options = [], ?string $program = null)
    {
        $program ??= getenv('ANTENV_EMULATOR') ?: 'antenv-emulator';
        // Nothing is written to its standard input. The system closes it when this process ends.
        $command = [$program, '--port', '0', '--until-stdin-closes', ...$options];
        $process = @proc_open($command, [['pipe', 'r'], ['pipe', 'w']], $this->pipes);
        $line = $process === false ? '' : trim((string) fgets($this->pipes[1]));
        if ($process === false || !str_starts_with($line, 'http')) {
            throw new \RuntimeException(
                "$program did not start: install it (make install, or cargo install --path emulator, in antenv's repository), or "
                    . 'name it in ANTENV_EMULATOR',
            );
        }
        [$this->process, $this->url, $this->owner] = [$process, $line, (int) getmypid()];
        $this->caFile = str_starts_with($line, 'https://') ? trim((string) fgets($this->pipes[1])) : null;
    }

    public function __destruct()
    {
        $this->stop();
    }

    /** Ends the emulator and waits until it has ended. Stopping twice is fine. In a forked child it does nothing. */
    public function stop(): void
    {
        if (isset($this->process) && $this->owner === getmypid()) {
            proc_terminate($this->process);
            array_map('fclose', $this->pipes);
            proc_close($this->process);
        }
        $this->process = null;
    }

    /**
     * Makes a client for the emulator. It has an API key, unless another credential is given.
     *
     * @param mixed ...$arguments The arguments of `Antenv\Client`, by name.
     */
    public function client(mixed ...$arguments): Client
    {
        if (!isset($arguments['apiKey']) && !isset($arguments['authToken']) && !isset($arguments['environmentKey'])) {
            $arguments['apiKey'] = 'an-api-key';
        }
        return new Client(...['baseURL' => $this->url, 'caFile' => $this->caFile, ...$arguments]);
    }

    /**
     * Makes a worker for the emulator. It has a new key of its environment, unless one is given.
     *
     * @param string $environmentID The environment whose work queue it serves.
     * @param mixed ...$arguments The other arguments of `$client->worker()`, by name.
     */
    public function worker(string $environmentID, mixed ...$arguments): Worker
    {
        $arguments['environmentKey'] ??= $this->environmentKey($environmentID);
        return $this->client()->worker($environmentID, ...$arguments);
    }

    /** Creates a self-hosted environment and returns it. */
    public function environment(string $name = 'tests'): Environment
    {
        return $this->client()->beta->environments->create(name: $name, config: ['type' => 'self_hosted']);
    }

    /** Issues a key of an environment and returns it. */
    public function environmentKey(string $environmentID): string
    {
        return $this->control('POST', 'environment_keys', ['environment_id' => $environmentID])['environment_key'];
    }

    /**
     * Queues a work item and returns it, with its secret.
     *
     * @param string $environmentID The environment whose work queue gets it.
     * @param array<string, mixed>|null $data The work to do, such as `['type' => 'session', 'id' => '...']`. null: a
     *     new session.
     * @param array<string, string>|null $metadata The item's metadata.
     */
    public function enqueue(string $environmentID, ?array $data = null, ?array $metadata = null): Work
    {
        $fields = ['environment_id' => $environmentID, 'data' => $data, 'metadata' => $metadata];
        return Work::of($this->control('POST', 'work', array_filter($fields, static fn (mixed $one): bool => $one !== null)));
    }

    /**
     * Creates a session and returns it.
     *
     * @param list<array<string, mixed>> $steps What its agent does, as for `script`. Without any: it ends each turn at
     *     once.
     * @param string|null $environmentID The environment it runs in. null: a new one.
     * @param mixed ...$arguments Other arguments of `$client->beta->sessions->create()`, by name.
     */
    public function session(array $steps = [], ?string $environmentID = null, mixed ...$arguments): Session
    {
        $arguments += ['agent' => 'agent_tests', 'environmentID' => $environmentID ?? $this->environment()->id];
        $session = $this->client()->beta->sessions->create(...$arguments);
        if ($steps !== []) {
            $this->script($session->id, $steps);
        }
        return $session;
    }

    /**
     * Lets a session's agent play steps, after those that it was given before.
     *
     * @param list<array<string, mixed>> $steps The steps, such as `['text' => 'Hello.']`, `['tool' => 'bash', 'input'
     *     => [...]]`, `['wait' => 'results']`; docs/emulator.md lists them.
     * @param string|null $start When it begins: "message" at the session's next message. null: immediately.
     */
    public function script(string $sessionID, array $steps, ?string $start = null): void
    {
        $this->control('POST', 'scripts', ['session_id' => $sessionID, 'steps' => $steps, 'start' => $start]);
    }

    /**
     * Returns how far a session's agent has come, and how each of its calls was answered; docs/emulator.md lists the
     * members.
     *
     * @return array<string, mixed>
     */
    public function scriptReport(string $sessionID): array
    {
        return $this->control('GET', 'scripts?session_id=' . rawurlencode($sessionID))['data'][0];
    }

    /**
     * Uploads a version of a skill and returns it, with the members `id`, `skill_id`, `name` and `description`.
     *
     * @param string $name The skill's name; its files lie below a folder of this name.
     * @param array<string, string|array<string, mixed>> $files The files to pack, by relative path: the text of each, or
     *     `['text' => '...', 'executable' => true]`, or the same with "base64" for bytes.
     * @param string|null $skillID The skill, which gets another version if it exists. null: a new skill.
     * @param string|null $description The description. null: an empty one.
     *
     * @return array<string, mixed>
     */
    public function uploadSkill(string $name, array $files, ?string $skillID = null, ?string $description = null): array
    {
        $fields = ['name' => $name, 'files' => (object) $files, 'id' => $skillID, 'description' => $description];
        return $this->control('POST', 'skills', $fields);
    }

    /**
     * Creates a memory store and returns its identifier.
     *
     * @param string $name The store's name, 1 to 255 characters.
     * @param array<string, string> $memories Its first memories: contents by path, such as `['/notes/a.md' => '...']`.
     */
    public function createMemoryStore(string $name = 'tests', array $memories = []): string
    {
        return $this->control('POST', 'memory_stores', ['name' => $name, 'memories' => (object) $memories])['id'];
    }

    /** Moves the emulator's clock, which decides about leases, by so many milliseconds. */
    public function advance(int $milliseconds): void
    {
        $this->control('POST', 'clock', ['advance_ms' => $milliseconds]);
    }

    /**
     * Lets the next requests fail.
     *
     * @param array<string, mixed> ...$faults What happens to them, such as `['status' => 529, 'count' => 2]`;
     *     docs/emulator.md lists the members.
     */
    public function faults(array ...$faults): void
    {
        $this->control('POST', 'faults', $faults);
    }

    /**
     * Returns the requests that came since the last call, oldest first; docs/emulator.md lists their members.
     *
     * @return list<array<string, mixed>>
     */
    public function takeRequests(): array
    {
        $requests = $this->control('GET', 'requests')['data'];
        $this->control('DELETE', 'requests');
        return $requests;
    }

    /** Forgets everything: environments, work, keys, faults, requests. */
    public function reset(): void
    {
        $this->control('POST', 'reset');
    }

    /**
     * Calls a control endpoint; returns its decoded JSON, null when the response is empty.
     *
     * @param string $method HTTP method, such as "POST".
     * @param string $path Path below `/_emulator/`; docs/emulator.md lists the endpoints.
     * @param mixed $body Any JSON value; null sends no body.
     *
     * @throws \RuntimeException The emulator rejects the request; the message says why.
     */
    public function control(string $method, string $path, mixed $body = null): mixed
    {
        $http = ['method' => $method, 'header' => 'content-type: application/json', 'ignore_errors' => true, 'timeout' => 60];
        $http += $body === null ? [] : ['content' => Json::encode($body)];
        $url = (string) preg_replace('/^https:/', 'http:', $this->url); // control endpoints need no TLS
        $text = file_get_contents("$url/_emulator/$path", false, stream_context_create(['http' => $http]));
        if ($text === false || preg_match('/ 2\d\d( |$)/', $http_response_header[0] ?? '') !== 1) {
            throw new \RuntimeException("the emulator rejects $method $path: $text");
        }
        return $text === '' ? null : json_decode($text, true, 512, JSON_THROW_ON_ERROR);
    }
}
