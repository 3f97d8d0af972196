<?php

/**
 * Runs the examples of the API reference, each of which is a file under `examples`, and checks what they return.
 *
 * `run.php samples` is for a server that responds to each with the reference's own sample; `run.php OPERATION...` runs
 * some against any server, and prints what each returned, a line of JSON for each.
 */

declare(strict_types=1);

use Antenv\Exception\API;
use Antenv\PageCursor;
use Antenv\Types;

require dirname(__DIR__) . '/check.php';

/** The classes for the types of the reference. */
const CLASSES = [
    'BetaEnvironment' => Types\Environment::class,
    'BetaEnvironmentDeleteResponse' => Types\EnvironmentDeleted::class,
    'BetaCloudConfig' => Types\CloudConfig::class,
    'BetaLimitedNetwork' => Types\LimitedNetwork::class,
    'BetaUnrestrictedNetwork' => Types\UnrestrictedNetwork::class,
    'BetaSelfHostedConfig' => Types\SelfHostedConfig::class,
    'BetaPackages' => Types\Packages::class,
    'SelfHostedWork' => Types\Work::class,
    'SelfHostedWorkHeartbeatResponse' => Types\WorkHeartbeat::class,
    'SelfHostedWorkQueueStats' => Types\WorkQueueStats::class,
    'SelfHostedWorkListResponse' => PageCursor::class,
    'SessionWorkData' => Types\SessionWorkData::class,
];
/** What the reference calls types that are unions, and the types of PHP that properties may have for them. */
const UNIONS = [
    'Config' => [Types\CloudConfig::class, Types\SelfHostedConfig::class],
    'Networking' => [Types\LimitedNetwork::class, Types\UnrestrictedNetwork::class],
    'Scope' => [Types\Scope::class],
    'State' => [Types\State::class],
    'Type' => ['string'],
];

$reference = json_decode((string) file_get_contents(__DIR__ . '/reference.json'), true, 64, JSON_THROW_ON_ERROR);

/** Runs an example; returns what its last variable holds, and what it printed. */
function run(string $operation): array
{
    ob_start();
    try {
        $variables = (static function (string $file): array {
            require $file;

            return array_diff_key(get_defined_vars(), ['file' => null, 'client' => null]);
        })(__DIR__ . "/examples/$operation.php");
    } finally {
        $printed = (string) ob_get_clean();
    }
    same(1, count($variables), 'the number of results');

    return [reset($variables), $printed];
}

/** Returns the types that a property is declared with. */
function declared(string $class, string $property): array
{
    $type = (new ReflectionProperty($class, $property))->getType();
    $types = $type instanceof ReflectionUnionType ? $type->getTypes() : [$type];

    return [array_map(static fn (ReflectionNamedType $one): string => $one->getName(), $types), $type->allowsNull()];
}

/** Checks that a class has the fields that the reference documents, as properties of their types. */
function fields(string $class, array $documented): void
{
    foreach ($documented as $field) {
        [, $nullable, $type, $name] = preg_match('/^(\??)(.*) (\w+)$/', $field, $parts) ? $parts : [null, '', '', $field];
        [$types, $allowsNull] = declared($class, $name);
        $type = preg_replace(['/^".*"$/', '/^(list|array)<.*>$/'], ['string', 'array'], $type);
        $expected = UNIONS[$type] ?? [CLASSES[$type] ?? $type];
        check(array_diff($expected, $types) === [], "$class::\$$name has the type $type, and not " . implode('|', $types));
        check($nullable === '' || $allowsNull, "$class::\$$name may be null");
        check((new ReflectionProperty($class, $name))->isReadOnly(), "$class::\$$name is read-only");
    }
}

/** Checks that an object has the value of every member of a sample under the name that the reference documents. */
function matches(mixed $found, mixed $sample, array $documented, string $what): void
{
    foreach ($documented as $field) {
        preg_match('/^\??.* (\w+)$/', $field, $parts);
        $name = $parts[1];
        $wire = Antenv\Names::snake($name);
        check(array_key_exists($wire, $sample), "the sample of $what has $wire");
        $value = $found->$name;
        if ($value instanceof BackedEnum) {
            $value = $value->value;
        } elseif ($value instanceof Types\Model) {
            check($value::class !== Types\Model::class, "$what has a class for $name");
            $value = $value->toArray();
        }
        same($sample[$wire], $value, "$name of $what");
    }
}

if ($argv[1] !== 'samples') {
    foreach (array_slice($argv, 1) as $operation) {
        try {
            [$result] = run($operation);
            $report = ['class' => $result::class, 'result' => $result->toArray()];
            $cases = array_column($reference['operations'], null, 'operation');
            foreach ($cases[$operation]['fields'] as $field) {
                $name = substr($field, strrpos($field, ' ') + 1);
                $result->$name; // throws an Error where the response has no such field, or another type
                $report['fields'][] = $name;
            }
        } catch (API $error) {
            $report = ['class' => $error::class, 'result' => $error->body];
        }
        echo json_encode(['operation' => $operation] + $report, JSON_THROW_ON_ERROR), "\n";
    }
    exit;
}

foreach ($reference['operations'] as $case) {
    test("the example of {$case['operation']} returns what the reference shows", function () use ($case): void {
        preg_match('/: (?:PageCursor<)?(\w+)>?$/', $case['signature'], $type);
        $class = CLASSES[$type[1]];
        [$result, $printed] = run($case['operation']);
        same($case['response'], $result->toArray(), 'the result');
        check(str_contains($printed, 'object('), 'the example dumps its result');
        $item = $result;
        $sample = $case['response'];
        if (str_contains($case['signature'], 'PageCursor')) {
            check($result instanceof PageCursor, 'the result is a PageCursor');
            same($sample['next_page'], $result->nextPage, 'nextPage');
            [$item, $sample] = [$result->data[0], $sample['data'][0]];
        }
        same($class, $item::class, 'the class');
        matches($item, $sample, $case['fields'], $case['operation']);
        foreach ($case['fields'] as $field) {
            $name = substr($field, strrpos($field, ' ') + 1);
            check(str_contains($printed, "[\"$name\"]"), "the dump shows $name");
        }
        // A plain reading of the same JSON is what the object gives back: nothing is lost.
        same($sample, json_decode($item->toJSON(), true), 'the JSON');
    });
    test("the arguments of {$case['operation']} are those of the reference", function () use ($case): void {
        preg_match('/^\$client->beta->([\w>-]+)->(\w+)\((.*)\): (.*)$/', $case['signature'], $parts);
        $object = (new Client(apiKey: 'k'))->beta;
        foreach (explode('->', $parts[1]) as $resource) {
            $object = $object->$resource;
        }
        $arguments = (new ReflectionMethod($object, $parts[2]))->getParameters();
        preg_match_all('/(\??)([\w<>,]+(?:<[^>]*>)?) (\w+)(?:, |$)/', $parts[3], $documented, PREG_SET_ORDER);
        foreach ($documented as $place => [, $optional, , $name]) {
            same($name, $arguments[$place]->getName(), "argument $place");
            same($optional === '?', $arguments[$place]->isOptional(), "whether $name is optional");
        }
        same(count($documented) + 1, count($arguments), 'the number of arguments');
        same('requestOptions', $arguments[count($documented)]->getName(), 'the last argument');
    });
}

foreach ($reference['types'] as $type => $documented) {
    test("$type has every field that the reference documents", function () use ($type, $documented): void {
        check($documented !== [], 'there are fields');
        fields(CLASSES[$type], $documented);
    });
}

test('every example of the reference is run', function () use ($reference): void {
    $examples = array_map(static fn (string $file): string => basename($file, '.php'), glob(__DIR__ . '/examples/*.php'));
    $operations = array_column($reference['operations'], 'operation');
    sort($operations);
    same($operations, $examples, 'the examples');
});

Tests::end();
