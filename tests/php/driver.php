<?php

/**
 * Runs calls that a test describes on standard input, through the PHP package, and reports each on standard output.
 *
 * The language is that of tests/c/driver.c, of which it knows the lines `client`, `derive`, `call`, `named`, `request`,
 * `open`, `event` and `download`.
 */

declare(strict_types=1);

use Antenv\Client;
use Antenv\Exception\AntenvException;
use Antenv\Names;
use Antenv\PageCursor;
use Antenv\RequestOptions;
use Antenv\Stream;
use Antenv\Types\Model;

require dirname(__DIR__, 2) . '/bindings/php/autoload.php';

const DONE = 8;
const INVALID_ARGUMENT = 1;

/** The client that the lines before this one made, and the stream that it has open. */
final class Session
{
    private const OPTIONS = ['timeoutMs', 'attemptTimeoutMs', 'maxRetries', 'extraHeaders', 'extraQuery', 'extraBody',
        'workspaceID'];

    private ?Client $client = null;
    private ?Stream $stream = null;

    /** Does what a line says; returns the status and the result. */
    public function run(string $what, array $fields): array
    {
        $params = static fn (?string $text): array => json_decode($text ?? '{}', true, 512, JSON_THROW_ON_ERROR);
        switch ($what) {
            case 'client':
                $this->client = new Client(...$this->named($params($fields[0]), isCall: false));

                return [0, null];
            case 'derive':
                $this->client = $this->client->withOptions(...$this->named($params($fields[0]), isCall: false));

                return [0, null];
            case 'call':
                return [0, $this->client->call($fields[0], $params($fields[1]))];
            case 'request':
                return [0, $this->client->request($fields[0], $fields[1], ...$this->named($params($fields[2])))];
            case 'named':
                $ids = array_reverse(array_filter([$fields[1], $fields[2]], static fn (?string $id): bool => $id !== null));

                return [0, $this->method($fields[0])(...$ids, ...$this->named($params($fields[3])))];
            case 'open':
                $this->stream = $this->method($fields[0])(...$this->named($params($fields[1])));

                return [0, null];
            case 'event':
                $event = $this->stream->next((int) $fields[0]);

                return $event === null ? [DONE, null] : [0, $event];
            case 'download':
                return [0, $this->method($fields[0])(...$this->named($params($fields[1]) + ['path' => $fields[2]]))];
            default:
                fprintf(STDERR, "driver: what is %s?\n", $what);
                exit(2);
        }
    }

    /** Returns an operation's method. */
    private function method(string $operation): callable
    {
        $path = explode('.', preg_replace('/^work\./', 'environments.work.', $operation));
        $name = array_pop($path);
        $resource = $this->client->beta;
        foreach ($path as $part) {
            $resource = $resource->{Names::camel($part)};
        }

        return [$resource, $name];
    }

    /** Returns parameters by the names that PHP has for them, the options of a call in place. */
    private function named(array $params, bool $isCall = true): array
    {
        $named = array_combine(array_map(Names::camel(...), array_keys($params)), array_values($params));
        $options = array_intersect_key($named, array_flip(self::OPTIONS));

        return $isCall && $options !== []
            ? array_diff_key($named, $options) + ['requestOptions' => new RequestOptions(...$options)]
            : $named;
    }
}

/** Returns a result as the JSON that it was made of. */
function text(mixed $result): string
{
    if ($result instanceof Model) {
        return $result->toJSON();
    }
    if ($result instanceof PageCursor) {
        $data = implode(',', array_map(text(...), $result->data));

        return "{\"data\":[$data],\"next_page\":" . json_encode($result->nextPage) . '}';
    }

    return json_encode($result, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION);
}

/** Returns the name of the argument of a method that PHP itself refused, as the library names it. */
function refused(TypeError|Error $error): array
{
    if (!preg_match('/\(\$(\w+)\) must be of type|Unknown named parameter \$(\w+)/', $error->getMessage(), $name)) {
        throw $error;
    }

    return ['parameter' => Names::snake($name[2] ?? $name[1]), 'message' => $error->getMessage()];
}

$session = new Session();
while (($line = fgets(STDIN)) !== false) {
    $fields = array_map(
        static fn (string $field): ?string => $field === "\x01" ? null : $field,
        explode("\t", rtrim($line, "\n")),
    );
    try {
        [$status, $result] = $session->run((string) array_shift($fields), $fields);
    } catch (AntenvException $error) {
        [$status, $result] = [$error->getCode(), $error->toArray()];
    } catch (Error $error) {
        [$status, $result] = [INVALID_ARGUMENT, refused($error)];
    }
    $text = text($result);
    fwrite(STDOUT, sprintf("%d %d\n%s\n", $status, strlen($text), $text));
}
