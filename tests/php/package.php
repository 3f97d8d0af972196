<?php

/** Tests of the package as it is written: its types, its documentation, its names. Run by test_php_package.py. */

declare(strict_types=1);

require __DIR__ . '/check.php';

use Antenv\Client;
use Antenv\Exception\AntenvException;
use Antenv\Names;
use Antenv\RequestOptions;

const ROOT = __DIR__ . '/../..';
const SOURCES = ROOT . '/bindings/php/src';

/** Returns the classes of the package, by file. */
function classes(): array
{
    $classes = [];
    foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator(SOURCES, FilesystemIterator::SKIP_DOTS)) as $file) {
        $name = substr($file->getPathname(), strlen(SOURCES) + 1, -4);
        $classes[$file->getPathname()] = 'Antenv\\' . strtr($name, '/', '\\');
    }
    ksort($classes);

    return $classes;
}

/** Returns the rows of a table of docs/configuration.md, the keys of a section. */
function keys(string $section): array
{
    $page = (string) file_get_contents(ROOT . '/docs/configuration.md');
    preg_match("/\n## $section\n(.*?)(?=\n## |$)/s", $page, $part);
    preg_match_all('/^\| `(\w+)` \|/m', $part[1], $rows);

    return $rows[1];
}

/** Returns the names of the arguments of a method, as the library has them. */
function arguments(string $class, string $method): array
{
    $names = array_map(
        static fn (ReflectionParameter $one): string => Names::snake($one->getName()),
        (new ReflectionMethod($class, $method))->getParameters(),
    );
    sort($names);

    return $names;
}

test('every file declares strict types and a class of its name', function (): void {
    check(count(classes()) > 70, 'there are classes');
    foreach (classes() as $file => $class) {
        check(str_contains((string) file_get_contents($file), "\ndeclare(strict_types=1);\n"), "$file has strict types");
        check(class_exists($class) || interface_exists($class) || trait_exists($class) || enum_exists($class), "$class is there");
    }
});

test('every member has types, and a comment where it is public', function (): void {
    $missing = [];
    foreach (classes() as $class) {
        $reflected = new ReflectionClass($class);
        $isInternal = str_contains((string) $reflected->getDocComment(), '@internal');
        if ($reflected->getDocComment() === false) {
            $missing[] = $class;
        }
        foreach ($reflected->getProperties() as $property) {
            if ($property->class !== $class) {
                continue;
            }
            $inherited = $reflected->getParentClass() && $reflected->getParentClass()->hasProperty($property->name);
            if (!$property->hasType() && !$inherited && !$reflected->isEnum()) {
                $missing[] = "the type of $class::\$$property->name";
            }
            if ($property->isPublic() && !$property->isPromoted() && !$reflected->isEnum() && !$property->getDocComment()) {
                $missing[] = "the comment of $class::\$$property->name";
            }
        }
        foreach ($reflected->getMethods() as $method) {
            if ($method->class !== $class || $method->isInternal()) {
                continue;
            }
            $isMagic = str_starts_with($method->name, '__');
            if (!$method->hasReturnType() && !in_array($method->name, ['__construct', '__destruct', '__clone'], true)) {
                $missing[] = "the return type of $class::$method->name";
            }
            if ($method->isPublic() && !$isMagic && !$isInternal && !$method->getDocComment() && !$reflected->isEnum()) {
                $missing[] = "the comment of $class::$method->name";
            }
            foreach ($method->getParameters() as $parameter) {
                if (!$parameter->hasType()) {
                    $missing[] = "the type of \$$parameter->name of $class::$method->name";
                }
            }
        }
    }
    same([], $missing);
});

test('every array of a public method has the type of its items', function (): void {
    $missing = [];
    foreach (classes() as $class) {
        foreach ((new ReflectionClass($class))->getMethods(ReflectionMethod::IS_PUBLIC) as $method) {
            if ($method->class !== $class || $method->isInternal()) {
                continue;
            }
            $comment = (string) $method->getDocComment();
            foreach ($method->getParameters() as $parameter) {
                $documented = preg_match("/@param [^\$]*[<{\[][^\$]*\\\$$parameter->name\b/", $comment) === 1;
                if (preg_match('/\barray\b/', (string) $parameter->getType()) && !$documented) {
                    $missing[] = "$class::$method->name \$$parameter->name";
                }
            }
            if (preg_match('/\barray\b/', (string) $method->getReturnType()) && !preg_match('/@return [^\n]*[<{\[]/', $comment)) {
                $missing[] = "$class::$method->name returns";
            }
        }
    }
    same([], $missing);
});

test('the names of functions are those of the header', function (): void {
    $header = (string) file_get_contents(ROOT . '/include/antenv.h');
    preg_match_all('/^[\w ]+ \*?(antenv_\w+)\(/m', $header, $functions);
    preg_match_all('/\b(antenv_\w+)\(/', Antenv\Native::declarations(), $declared);
    check(count($functions[1]) > 60, 'the header has functions');
    same($functions[1], $declared[1], 'what FFI reads');
    $known = [...$functions[1], 'antenv_completion'];
    foreach (classes() as $file => $class) {
        $code = implode('', array_map(
            static fn (array|string $token): string => is_string($token) ? $token : match ($token[0]) {
                T_COMMENT, T_DOC_COMMENT => '',
                default => $token[1],
            },
            token_get_all((string) file_get_contents($file)),
        ));
        preg_match_all('/\bantenv_(?!\$|\{)\w+/', $code, $used);
        $types = array_filter($used[0], static fn (string $name): bool => !str_contains($header, "typedef struct $name $name;"));
        same([], array_values(array_diff($types, $known)), $class);
    }
});

test('the statuses are those of the header', function (): void {
    preg_match_all('/^ +ANTENV_(\w+) = (\d+)/m', (string) file_get_contents(ROOT . '/include/antenv.h'), $statuses);
    $known = array_combine($statuses[1], array_map('intval', $statuses[2]));
    foreach ((new ReflectionClass(Antenv\Native::class))->getConstants() as $name => $value) {
        if (isset($known[$name])) {
            same($known[$name], $value, $name);
            $checked = true;
        }
    }
    check(isset($checked), 'there are statuses');
    // A wait that is over, is interrupted, or has nothing more is no failure.
    $failures = array_diff($known, [$known['OK'], $known['DONE'], $known['INTERRUPTED']]);
    foreach ($failures as $name => $status) {
        check(AntenvException::of($status, '')::class !== AntenvException::class, "$name has a class");
        same(strtolower($name), AntenvException::of($status, '')->status);
    }
});

test('a client and a call take every key of the documentation', function (): void {
    $keys = keys('Client');
    sort($keys);
    check(count($keys) > 20, 'there are keys');
    same($keys, arguments(Client::class, '__construct'));
    $call = array_diff(keys('Call'), ['query', 'headers', 'body', 'betas', 'with_response']);
    sort($call);
    same($call, array_values(array_diff(arguments(RequestOptions::class, '__construct'), ['response'])));
    $page = (string) file_get_contents(ROOT . '/docs/configuration.md');
    preg_match_all('/^\| `(\w+)` \|(?:[^|]*\|){4} yes \|/m', $page, $derived);
    sort($derived[1]);
    check(count($derived[1]) > 8, 'there are keys of derived clients');
    same($derived[1], arguments(Client::class, 'withOptions'));
});

test('names are converted both ways', function (): void {
    $names = [
        'environment_id' => 'environmentID', 'allow_mcp_servers' => 'allowMCPServers', 'ttl_seconds' => 'ttlSeconds',
        'desired_ttl_seconds' => 'desiredTTLSeconds', 'anthropic_worker_id' => 'anthropicWorkerID', 'vault_ids' => 'vaultIDs',
        'allow_insecure_http' => 'allowInsecureHTTP', 'http2' => 'http2', 'base_url' => 'baseURL', 'ca_file' => 'caFile',
        'content_sha256' => 'contentSHA256', 'expected_content_sha256' => 'expectedContentSHA256', 'id' => 'id',
        'reclaim_older_than_ms' => 'reclaimOlderThanMs', 'created_at' => 'createdAt',
    ];
    foreach ($names as $wire => $name) {
        same($name, Names::camel($wire));
        same($wire, Names::snake($name));
        same($wire, Names::snake($wire));
    }
    same('createdAtGt', Names::camel('created_at[gt]'));
    same('`timeoutMs` and `api`', Names::inMessage('`timeout_ms` and `api`'));
});

Tests::end();
