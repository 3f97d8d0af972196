<?php

/** Tests of clients, results, pages and exceptions. Run by test_php_client.py. */

declare(strict_types=1);

require __DIR__ . '/check.php';

use Antenv\Client;
use Antenv\Exception;
use Antenv\Exception\AntenvException;
use Antenv\Library;
use Antenv\PageCursor;
use Antenv\RequestOptions;
use Antenv\Response;
use Antenv\Testing\Emulator;
use Antenv\Types;
use Antenv\Types\Environment;
use Antenv\Types\Scope;
use Antenv\Types\State;
use Antenv\Types\Work;

$emulator = new Emulator(['--auth', 'any']);
$client = $emulator->client(maxRetries: 0);
$environments = $client->beta->environments;

/** Returns the body of the request that was made last. */
function body(): mixed
{
    global $emulator;
    $requests = $emulator->takeRequests();

    return end($requests)['body'];
}

/** Has the next request answered with a body. */
function answered(mixed $body, int $status = 200, array $headers = []): void
{
    global $emulator;
    $emulator->control('POST', 'faults', [['status' => $status, 'body' => $body, 'headers' => (object) $headers]]);
}

/** Returns all that PHP shows of a value. */
function dumps(mixed $value): string
{
    ob_start();
    var_dump($value);
    print_r($value);
    var_export($value);
    print_r((array) $value); // which has private properties as well

    return ob_get_clean() . json_encode($value, JSON_PARTIAL_OUTPUT_ON_ERROR);
}

test('an environment lives its life', function () use ($environments): void {
    $made = $environments->create(name: 'one', config: ['type' => 'self_hosted'], metadata: ['a' => 'b']);
    check(str_starts_with($made->id, 'env_'), 'it has an identifier');
    check($made->config instanceof Types\SelfHostedConfig, 'the configuration has a class');
    same(['a' => 'b'], $made->metadata);
    same('two', $environments->update($made->id, name: 'two')->name);
    same('two', $environments->retrieve($made->id)->name);
    check($environments->archive($made->id)->archivedAt !== null, 'it is archived');
    same($made->id, $environments->delete($made->id)->id);
    $error = thrown(Exception\NotFound::class, fn () => $environments->retrieve($made->id));
    same([104, 'not_found', 404, 1], [$error->getCode(), $error->status, $error->statusCode, $error->attempts]);
    same('environments.retrieve', $error->operation);
    same('not_found_error', $error->type);
    same('environment_not_found', $error->errorCode);
    same($error->requestID, $error->headers['request-id'] ?? null, 'the request id');
    same($error->body['error']['message'], $error->problem);
    check(str_contains($error->getMessage(), "404 not_found: $error->problem ($error->requestID)"), 'the message has it all');
});

test('what is left out is not sent, and null is sent as null', function () use ($environments): void {
    $made = $environments->create(name: 'one', description: 'text');
    same(['name' => 'one', 'description' => 'text'], body());
    same(null, $environments->update($made->id, description: null)->description);
    same(['description' => null], body());
    $environments->update($made->id, name: 'two', description: Antenv\Omit::Omitted);
    same(['name' => 'two'], body());
});

test('an empty array is an object where the API has one', function () use ($environments, $emulator): void {
    $environments->create(name: 'one', metadata: [], config: ['type' => 'cloud', 'networking' => [
        'type' => 'limited',
        'allowedHosts' => [],
    ], 'packages' => []]);
    $networking = '"networking":{"type":"limited","allowed_hosts":[]}';
    same("{\"name\":\"one\",\"config\":{\"type\":\"cloud\",$networking,\"packages\":{}},\"metadata\":{}}", text());
    $environments->create(name: 'one', metadata: ['x', 'y']); // keys that are numbers make a list of it
    same('{"name":"one","metadata":{"0":"x","1":"y"}}', text());
});

/** Returns the body of the request that was made last as JSON. */
function text(): string
{
    global $emulator;
    $url = strtr($emulator->url, ['https:' => 'http:']) . '/_emulator/requests';
    $requests = json_decode((string) file_get_contents($url))->data;
    $emulator->takeRequests();

    return json_encode(end($requests)->body, JSON_UNESCAPED_SLASHES);
}

test('names within a configuration are converted, and those of the user are not', function () use ($environments): void {
    $environments->create(
        name: 'one',
        config: ['type' => 'cloud', 'networking' => ['type' => 'limited', 'allowMCPServers' => true, 'newField' => 1]],
        metadata: ['camelCase' => 'stays'],
        requestOptions: new RequestOptions(extraBody: ['extraField' => ['innerField' => 1]]),
    );
    $sent = body();
    same(['type' => 'limited', 'allow_mcp_servers' => true, 'new_field' => 1], $sent['config']['networking']);
    same(['camelCase' => 'stays'], $sent['metadata']);
    same(['innerField' => 1], $sent['extraField']);
});

test('events of a session keep the input of tools as it is', function () use ($client): void {
    answered(['data' => []]);
    $client->beta->sessions->events->send('sesn_1', events: [
        ['type' => 'user.custom_tool_result', 'customToolUseID' => 'sevt_1', 'isError' => false, 'content' => []],
        ['type' => 'user.message', 'input' => [], 'metadata' => ['camelCase' => 1]],
    ]);
    same([
        ['type' => 'user.custom_tool_result', 'custom_tool_use_id' => 'sevt_1', 'is_error' => false, 'content' => []],
        ['type' => 'user.message', 'input' => [], 'metadata' => ['camelCase' => 1]],
    ], body()['events']);
});

test('an object may be given as it came', function () use ($environments): void {
    $made = $environments->create(name: 'one', config: ['type' => 'cloud']);
    body();
    $environments->create(name: 'two', config: $made->config, scope: Scope::Organization);
    $sent = body();
    same('cloud', $sent['config']['type']);
    same('organization', $sent['scope']);
});

test('what a version does not know is kept', function () use ($environments): void {
    $object = '{"id":"env_1","type":"environment","name":"n","description":null,"metadata":{},"scope":"galaxy","new_field":'
        . '{"empty":{},"list":[],"deepField":1.0},"config":{"type":"lunar","crater_size":5},"created_at":"c","updated_at":"u",'
        . '"archived_at":null,"large":12345678901234567890,"exact":9007199254740993,"0":"zero"}';
    answered(json_decode($object)); // whose numbers the emulator sends as they are
    $found = $environments->retrieve('env_1');
    same('galaxy', $found->scope, 'a value that is no case of the enum');
    check($found->config::class === Types\Model::class, 'an unknown configuration is a plain Model');
    same(5, $found->config->craterSize);
    same(['empty' => [], 'list' => [], 'deepField' => 1.0], $found->newField);
    check(isset($found->newField) && !isset($found->noField), 'isset knows them');
    thrown(Error::class, fn () => $found->noField);
    check(str_contains($found->toJSON(), '"new_field":{"empty":{},"list":[],"deepField":1.0}'), 'objects stay objects');
    same(9007199254740993, $found->toArray()['exact']);
    check(str_contains(dumps($found), 'craterSize'), 'a dump shows them');
});

test('integers are exact, and those that PHP has no int for are their digits', function () use ($client): void {
    $found = Environment::of(['id' => 'env_1', 'exact' => PHP_INT_MAX]);
    same(PHP_INT_MAX, $found->toArray()['exact']);
    $decoded = Antenv\Json::decode('{"large":12345678901234567890,"small":-9223372036854775808,"float":1e2}');
    same('12345678901234567890', $decoded->large);
    same(PHP_INT_MIN, $decoded->small);
    same(100.0, $decoded->float);
});

test('a field of another type than is documented is not lost', function () use ($client): void {
    answered(['type' => 'work_queue_stats', 'depth' => 'many', 'pending' => 2.5, 'workers_polling' => null]);
    $stats = $client->beta->environments->work->stats('env_1');
    foreach (['depth' => 'many', 'pending' => 2.5] as $name => $value) {
        $error = thrown(Error::class, fn () => $stats->$name);
        check(str_contains($error->getMessage(), "\$$name has another type than is documented"), $error->getMessage());
        same($value, $stats->toArray()[$name]);
        same(-1, $stats->$name ?? -1);
    }
    same(null, $stats->workersPolling);
    same(null, $stats->oldestQueuedAt, 'what was not sent');
    answered(['type' => 'work_queue_stats']);
    $error = thrown(Error::class, fn () => $client->beta->environments->work->stats('env_1')->depth);
    check(str_contains($error->getMessage(), 'the API sent no `depth`'), $error->getMessage());
});

test('results cannot be changed', function () use ($environments): void {
    $made = $environments->create(name: 'one');
    thrown(Error::class, function () use ($made): void {
        $made->name = 'two';
    });
    same($made->toArray(), (clone $made)->toArray());
    same($made->toArray(), unserialize(serialize($made))->toArray());
    same($made->config->toArray(), unserialize(serialize($made))->config->toArray());
});

test('iterating over a page goes through all pages', function () use ($emulator): void {
    $other = new Emulator(['--auth', 'any']);
    $environments = $other->client()->beta->environments;
    $made = [];
    foreach (range(1, 5) as $number) {
        array_unshift($made, $environments->create(name: "n$number")->id);
    }
    $other->takeRequests();
    $page = $environments->list(limit: 2);
    check($page instanceof PageCursor && $page->hasNextPage(), 'there are more pages');
    same(2, count($page->data));
    same(1, count($other->takeRequests()), 'requests for the first page');
    same($made, array_map(fn (Environment $one): string => $one->id, iterator_to_array($page)));
    same(2, count($other->takeRequests()), 'requests for the others');
    same($made, array_column(iterator_to_array($page), 'id'), 'iterated once more');
    foreach ($page as $item) {
        same($made[0], $item->id);
        $other->takeRequests();
        break;
    }
    same(0, count($other->takeRequests()), 'requests after a loop was left');
    $second = $page->getNextPage();
    same(array_slice($made, 2, 2), array_column($second->data, 'id'));
    same(3, count(iterator_to_array($page->pages())));
    $last = $second->getNextPage();
    same([1, null, false], [count($last->data), $last->nextPage, $last->hasNextPage()]);
    thrown(LogicException::class, fn () => $last->getNextPage());
    same($page->nextPage, $page->toArray()['next_page']);
});

test('memories and folders are told apart', function () use ($client): void {
    answered(['data' => [['type' => 'memory', 'id' => 'mem_1'], ['type' => 'memory_prefix', 'path' => '/a/']]]);
    $classes = array_map(get_class(...), $client->beta->memoryStores->memories->list('memstore_1', depth: 1)->data);
    same([Types\Memory::class, Types\MemoryPrefix::class], $classes);
});

test('a poll without work returns null', function () use ($client, $emulator): void {
    $environment = $emulator->environment()->id;
    same(null, $client->beta->environments->work->poll($environment));
    $queued = $emulator->enqueue($environment);
    $item = $client->beta->environments->work->poll($environment, anthropicWorkerID: 'w');
    same([$queued->id, State::Queued], [$item->id, $item->state]);
    check($item->data instanceof Types\SessionWorkData, 'its data has a class');
    same(1, $client->beta->environments->work->stats($environment)->pending);
});

$kinds = [
    400 => Exception\BadRequest::class, 401 => Exception\Authentication::class, 402 => Exception\PaymentRequired::class,
    403 => Exception\PermissionDenied::class, 404 => Exception\NotFound::class, 408 => Exception\RequestTimeout::class,
    409 => Exception\Conflict::class, 412 => Exception\PreconditionFailed::class, 413 => Exception\ContentTooLarge::class,
    418 => Exception\APIStatus::class, 422 => Exception\UnprocessableEntity::class, 429 => Exception\RateLimit::class,
    431 => Exception\RequestHeaderFieldsTooLarge::class, 499 => Exception\ClientClosedRequest::class,
    500 => Exception\InternalServer::class, 501 => Exception\HTTPNotImplemented::class, 502 => Exception\InternalServer::class,
    503 => Exception\ServiceUnavailable::class, 504 => Exception\GatewayTimeout::class, 529 => Exception\Overloaded::class,
];
test('each HTTP status has its exception', function () use ($environments, $kinds): void {
    foreach ($kinds as $status => $class) {
        answered(['type' => 'error', 'error' => ['type' => 't', 'message' => 'm', 'details' => ['a' => 1]]], $status, [
            'retry-after-ms' => '1500',
            'x-extra' => 'x',
        ]);
        $error = thrown(Exception\APIStatus::class, fn () => $environments->list());
        same([$class, $status], [$error::class, $error->statusCode]);
        same([1500, ['a' => 1], 'm', 'x'], [$error->retryAfterMs, $error->details, $error->problem, $error->headers['x-extra']]);
        check($error instanceof RuntimeException && $error instanceof Exception\API, 'its parents');
    }
});

test('failures without a response have their exceptions', function () use ($emulator): void {
    $nowhere = new Client(apiKey: 'k', baseURL: 'http://127.0.0.1:1', maxRetries: 0);
    $error = thrown(Exception\APIConnection::class, fn () => $nowhere->beta->environments->list());
    same([null, [], 4], [$error->statusCode, $error->headers, $error->getCode()]);
    answered('<html>');
    thrown(Exception\APIResponseValidation::class, fn () => $emulator->client()->beta->environments->list());
    $emulator->faults(['hold' => true]);
    $hasty = new RequestOptions(timeoutMs: 50, maxRetries: 0);
    thrown(Exception\APITimeout::class, fn () => $emulator->client()->beta->environments->list(requestOptions: $hasty));
    $emulator->control('DELETE', 'faults'); // the time may have been over before the request was there
    $emulator->control('DELETE', 'holds');
});

test('an invalid argument is named as PHP names it', function () use ($environments, $client): void {
    $cases = [
        'timeoutMs' => fn () => $environments->list(requestOptions: new RequestOptions(timeoutMs: 0)),
        'environmentID' => fn () => $environments->retrieve(''),
        'blockMs' => fn () => $client->beta->environments->work->poll('env_1', blockMs: 1000),
        'name' => fn () => $environments->create(name: "half \xC3"),
        'description' => fn () => $environments->create(name: 'n', description: "\xFF"),
        'extraBody' => fn () => $environments->create(name: 'n', requestOptions: new RequestOptions(extraBody: ['a' => NAN])),
        'method' => fn () => $client->request("GE\0T", '/v1/environments'),
        'anthropicWorkerID' => fn () => $client->beta->environments->work->poll('env_1', anthropicWorkerID: "a\nb"),
    ];
    foreach ($cases as $parameter => $call) {
        $error = thrown(Exception\InvalidArgument::class, $call);
        same($parameter, $error->parameter);
        check(str_contains($error->getMessage(), "`$parameter` "), $error->getMessage());
    }
    foreach (['baseURL' => 'no url', 'proxy' => 'no url', 'caFile' => '/none', 'maxRetries' => -1] as $parameter => $value) {
        $error = thrown(Exception\Config::class, fn () => new Client(...['apiKey' => 'k', $parameter => $value]));
        same($parameter, $error->parameter);
    }
    $both = thrown(Exception\Config::class, fn () => new Client(apiKey: 'a', authToken: 'b'));
    check(str_contains($both->getMessage(), 'apiKey') && !str_contains($both->getMessage(), 'api_key'), $both->getMessage());
});

test('a response describes itself', function () use ($environments): void {
    $options = new RequestOptions(response: $response = new Response());
    same(null, $response->statusCode);
    $found = $environments->list(requestOptions: $options);
    check($found instanceof PageCursor, 'the result is the same');
    same([200, 1, 'application/json'], [$response->statusCode, $response->attempts, $response->headers['content-type']]);
    same($response->requestID, $response->headers['request-id']);
});

test('options apply to their call', function () use ($environments, $emulator): void {
    $emulator->takeRequests();
    $environments->list(betas: ['x-1'], requestOptions: new RequestOptions(
        extraHeaders: ['x-one' => '1'],
        extraQuery: ['q' => [1, true]],
        workspaceID: 'wrkspc_1',
    ));
    [$request] = $emulator->takeRequests();
    same(['1', 'wrkspc_1'], [$request['headers']['x-one'], $request['headers']['anthropic-workspace-id'] ?? null]);
    check(str_contains($request['headers']['anthropic-beta'], 'x-1'), 'the beta version is sent');
    same([['q[]', '1'], ['q[]', 'true']], $request['query']);
    answered('', 529);
    $environments->list(requestOptions: new RequestOptions(maxRetries: 1));
});

test('any operation and any endpoint can be called', function () use ($client): void {
    $made = $client->call('environments.create', ['name' => 'by name', 'metadata' => []]);
    same('by name', $made->name);
    same('by name', $client->call('environments.retrieve', ['environmentID' => $made->id])->name);
    same($made->id, $client->request('GET', "/v1/environments/$made->id")->id);
    same('other', $client->request('POST', "/v1/environments/$made->id", body: ['name' => 'other'])->name);
    check(count($client->request('GET', '/v1/environments', query: ['limit' => 1])->data) === 1, 'the query is sent');
    check($client->stats()['calls']['succeeded'] > 3, 'they are counted');
    thrown(Exception\InvalidArgument::class, fn () => $client->call('environments.destroy'));
});

test('a client is derived with other defaults, and closed', function () use ($emulator): void {
    $client = $emulator->client(apiKey: 'first');
    $derived = $client->withOptions(apiKey: 'second', defaultHeaders: ['x-default' => 'd']);
    $client->close();
    $client->close();
    $emulator->takeRequests();
    $derived->beta->environments->list();
    [$request] = $emulator->takeRequests();
    same(['Bearer second', 'd'], [$request['headers']['authorization'], $request['headers']['x-default']]);
    $error = thrown(Exception\Closed::class, fn () => $client->beta->environments->list());
    check(str_contains($error->problem, 'this client is closed'), $error->problem);
    thrown(Exception\Closed::class, fn () => $client->withOptions());
    thrown(Exception\Closed::class, fn () => $client->stats());
});

test('a client lives as long as something uses it', function () use ($emulator): void {
    $page = $emulator->client()->beta->environments->list(limit: 1);
    gc_collect_cycles();
    check(count(iterator_to_array($page)) > 1, 'a page keeps its client');
});

test('a skill is downloaded to a file', function () use ($client, $emulator): void {
    $version = $emulator->control('POST', 'skills', ['name' => 'pdf', 'files' => ['SKILL.md' => '# PDF']]);
    $path = tempnam(sys_get_temp_dir(), 'skill');
    $done = $client->beta->skills->versions->download($version['id'], $version['skill_id'], $path);
    same([$path, filesize($path)], [$done->path, $done->bytes]);
    check($done->bytes > 0, 'there is something in it');
    unlink($path);
    $error = thrown(
        Exception\InvalidArgument::class,
        fn () => $client->beta->skills->versions->download($version['id'], $version['skill_id'], '/none/file'),
    );
    same('path', $error->parameter);
    thrown(
        Exception\APIResponseValidation::class,
        fn () => $client->beta->skills->versions->download($version['id'], $version['skill_id'], $path, maxBytes: 1),
    );
    check(!file_exists($path), 'no file is left');
});

test('no secret is in a dump', function () use ($emulator): void {
    $secret = 'sk-secret-0123456789';
    $client = $emulator->client(apiKey: $secret, defaultHeaders: ['x-token' => $secret]);
    $options = new RequestOptions(extraHeaders: ['x-token' => $secret]);
    $client->beta->environments->list(requestOptions: $options);
    $environment = $emulator->environment()->id;
    $emulator->enqueue($environment);
    $item = $emulator->client()->beta->environments->work->poll($environment);
    check(strlen($item->secret()) > 10, 'the item has a secret');
    same($item->secret(), $item->toArray()['secret']);
    foreach ([$client, $client->beta, $options] as $object) {
        check(!str_contains(dumps($object), $secret), $object::class . ' shows no secret');
    }
    check(!str_contains(dumps($item), $item->secret()), 'the item shows no secret');
    check(!str_contains(serialize($item), $item->secret()), 'nor when it is serialised');
    check(str_contains(dumps($item), $item->id), 'the item shows the rest');
});

test('no secret is in a stack trace', function () use ($emulator): void {
    ini_set('zend.exception_ignore_args', '0');
    $secret = 'sk-secret-0123456789';
    $headers = ['x-token' => "$secret\n"];
    $found = [
        thrown(Exception\Config::class, fn () => new Client(apiKey: $secret, authToken: $secret)),
        thrown(Exception\Config::class, fn () => new Client(apiKey: $secret, proxy: "http://u:$secret@ /")),
        thrown(Exception\Config::class, fn () => $emulator->client()->withOptions(apiKey: $secret, defaultHeaders: $headers)),
        thrown(Exception\InvalidArgument::class, fn () => $emulator->client()->beta->environments->list(
            requestOptions: new RequestOptions(extraHeaders: $headers),
        )),
        thrown(AntenvException::class, fn () => (new Client(apiKey: $secret, baseURL: 'http://127.0.0.1:1', maxRetries: 0))
            ->beta->sessions->create(agent: 'a', environmentID: 'e', resources: [['authorizationToken' => $secret]])),
    ];
    foreach ($found as $number => $error) {
        // The test's own frames are left out: only the package's are to hide it.
        $isOurs = static fn (array $frame): bool => str_starts_with($frame['class'] ?? '', 'Antenv\\');
        $frames = array_filter($error->getTrace(), $isOurs);
        check($frames !== [], 'there are frames');
        check(!str_contains(print_r(array_column($frames, 'args'), true), $secret), "trace $number: " . $error->getMessage());
        check(!str_contains($error->getMessage(), $secret), "message $number");
    }
});

test('what owns something in the library cannot be copied', function () use ($client, $environments): void {
    foreach ([$client, $environments->list(limit: 1)] as $object) {
        thrown(LogicException::class, fn () => clone $object);
        thrown(LogicException::class, fn () => serialize($object));
        thrown(LogicException::class, fn () => unserialize('O:' . strlen($object::class) . ':"' . $object::class . '":0:{}'));
    }
    thrown(\Exception::class, fn () => serialize(new RequestOptions(extraHeaders: ['x' => 'y'])));
});

/** Starts a process that sends this one a signal when a call is held; returns its number. */
function signalled(Emulator $emulator, int $signal): int
{
    $emulator->faults(['hold' => true]);
    [$parent, $child] = [getmypid(), pcntl_fork()];
    if ($child === 0) {
        while ($emulator->control('GET', 'holds')['held'] === 0) {
            usleep(1000);
        }
        posix_kill($parent, $signal);
        posix_kill(getmypid(), SIGKILL); // what it inherited is the parent's to end
    }

    return $child;
}

test('a signal handler runs while a call waits', function () use ($emulator, $environments): void {
    pcntl_async_signals(true);
    $child = signalled($emulator, SIGUSR1);
    pcntl_signal(SIGUSR1, function () use ($emulator): void {
        $emulator->client()->stats(); // it may use the library, too
        same(1, $emulator->control('DELETE', 'holds')['released']);
    });
    check($environments->list(limit: 1) instanceof PageCursor, 'the call has gone on');
    pcntl_waitpid($child, $status);
});

test('a signal handler that throws ends the call', function () use ($emulator, $environments): void {
    $child = signalled($emulator, SIGUSR1);
    pcntl_signal(SIGUSR1, fn () => throw new DomainException('enough'));
    same('enough', thrown(DomainException::class, fn () => $environments->list(limit: 1))->getMessage());
    pcntl_waitpid($child, $status);
    $emulator->control('DELETE', 'holds');
    check($environments->list(limit: 1) instanceof PageCursor, 'the next call is another');
    pcntl_signal(SIGUSR1, SIG_DFL);
});

test('a forked process uses the client that it inherits', function () use ($environments): void {
    [$mine, $other] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, STREAM_IPPROTO_IP);
    $made = $environments->create(name: 'of the parent');
    $child = pcntl_fork();
    if ($child === 0) {
        fwrite($other, $environments->retrieve($made->id)->name . "\n");
        posix_kill(getmypid(), SIGKILL);
    }
    same('of the parent', $environments->retrieve($made->id)->name);
    same("of the parent\n", fgets($mine));
    pcntl_waitpid($child, $status);
    same('of the parent', $environments->retrieve($made->id)->name);
});

test('the library is shut down, and starts again', function () use ($environments): void {
    Library::shutdown(-1);
    Library::shutdown();
    check($environments->list(limit: 1) instanceof PageCursor, 'a call starts it again');
    thrown(Exception\InvalidArgument::class, fn () => Library::shutdown(-2));
    check(preg_match('/^\d+\.\d+\.\d+/', Library::version()) === 1, Library::version());
    same(getenv('ANTENV_LIBRARY'), Library::path());
});

test('no handle is left behind', function () use ($emulator): void {
    $before = descriptors();
    foreach (range(1, 30) as $ignored) {
        $emulator->client()->beta->environments->list(limit: 1);
    }
    gc_collect_cycles();
    check(descriptors() <= $before + 10, 'descriptors before: ' . $before . ', after: ' . descriptors());
});

/** Returns how many descriptors this process has. */
function descriptors(): int
{
    return count((array) scandir('/proc/self/fd'));
}

Tests::end();
