<?php

/** Tests of tools: their schemas, and what becomes of inputs and results. Run by test_php_session.py. */

declare(strict_types=1);

namespace Tools;

require __DIR__ . '/check.php';

use Antenv\Document;
use Antenv\Image;
use Antenv\Tool;
use Antenv\ToolCall;
use Antenv\ToolFunction;
use Antenv\ToolParam;
use Antenv\Tools\Content;
use Antenv\Tools\Docblock;
use Antenv\Tools\Mismatch;
use Antenv\Tools\Types;
use ReflectionFunction;

enum Unit: string
{
    case Celsius = 'celsius';
    case Fahrenheit = 'fahrenheit';
}

enum Order
{
    case Up;
    case Down;
}

/** A place on a map. */
final class Place
{
    /** @param float $x How far east. */
    public function __construct(public readonly float $x, public readonly float $y = 0.5)
    {
        if ($x > 180) {
            throw new \InvalidArgumentException('x is beyond the map');
        }
    }
}

final class Loop
{
    public function __construct(public readonly ?Loop $next = null)
    {
    }
}

/**
 * Returns the weather of a city,
 * as it will be.
 *
 * @param string $city The city's
 *     name.
 * @param int    ...$more
 *
 * @return string
 */
function weather(string $city, Unit $unit = Unit::Celsius, ?int $days = null): string
{
    return "$city $unit->value $days";
}

/** Tools of a program. */
final class Clock
{
    /** Returns the time. */
    #[Tool]
    public function now(): string
    {
        return 'now';
    }

    #[Tool(description: 'Returns the zone.', name: 'time_zone')]
    public static function zone(): string
    {
        return 'UTC';
    }

    public function other(): void
    {
    }
}

/** Returns the schema of a tool's input, as JSON says it. */
function schema(callable $function): mixed
{
    return json_decode(json_encode((new ToolFunction($function, 'tool'))->inputSchema), true);
}

/** Returns the schema of a parameter. */
function parameter(callable $function): mixed
{
    return current(schema($function)['properties']);
}

/** Returns the arguments that a function gets for an input, or why it gets none. */
function given(callable $function, string $json): mixed
{
    $found = Types::members((new ReflectionFunction($function(...)))->getParameters(), new Docblock(false), __NAMESPACE__);
    try {
        return \Antenv\Tools\Shape::members($found, static fn (array $made): array => $made)->convert(json_decode($json), '');
    } catch (Mismatch $mismatch) {
        return $mismatch->getMessage();
    }
}

test('the definition follows from the function', function (): void {
    same([
        'type' => 'custom',
        'name' => 'weather',
        'description' => "Returns the weather of a city,\nas it will be.",
        'input_schema' => [
            'type' => 'object',
            'properties' => [
                'city' => ['type' => 'string', 'description' => "The city's name."],
                'unit' => ['type' => 'string', 'enum' => ['celsius', 'fahrenheit'], 'default' => 'celsius'],
                'days' => ['anyOf' => [['type' => 'integer'], ['type' => 'null']], 'default' => null],
            ],
            'required' => ['city'],
            'additionalProperties' => false,
        ],
    ], (new ToolFunction(weather(...)))->definition());
    same('{"type":"object","properties":{},"required":[],"additionalProperties":false}', json_encode(
        (new ToolFunction(fn () => null, 'nothing'))->inputSchema,
    ));
});

test('each type has its schema', function (): void {
    $types = [
        [fn (string $a) => 0, ['type' => 'string']],
        [fn (int $a) => 0, ['type' => 'integer']],
        [fn (float $a) => 0, ['type' => 'number']],
        [fn (bool $a) => 0, ['type' => 'boolean']],
        [fn (mixed $a) => 0, []],
        [fn ($a) => 0, []],
        [fn (array $a) => 0, ['type' => ['array', 'object']]],
        [fn (object $a) => 0, ['type' => 'object']],
        [fn (\stdClass $a) => 0, ['type' => 'object']],
        [fn (Order $a) => 0, ['type' => 'string', 'enum' => ['Up', 'Down']]],
        [fn (?string $a) => 0, ['anyOf' => [['type' => 'string'], ['type' => 'null']]]],
        [fn (int|string|null $a) => 0, ['anyOf' => [['type' => 'string'], ['type' => 'integer'], ['type' => 'null']]]],
        [fn (float|false $a = false) => 0, ['anyOf' => [['enum' => [false]], ['type' => 'number']], 'default' => false]],
        [fn (array $a = []) => 0, ['type' => ['array', 'object'], 'default' => []]],
        [fn (#[ToolParam('The way.')] Order $a = Order::Up) => 0, [
            'type' => 'string', 'enum' => ['Up', 'Down'], 'default' => 'Up', 'description' => 'The way.',
        ]],
        [fn (Place $a) => 0, [
            'type' => 'object',
            'properties' => [
                'x' => ['type' => 'number', 'description' => 'How far east.'],
                'y' => ['type' => 'number', 'default' => 0.5],
            ],
            'required' => ['x'],
            'additionalProperties' => false,
            'description' => 'A place on a map.',
        ]],
    ];
    foreach ($types as $number => [$function, $schema]) {
        same($schema, parameter($function), "schema $number");
    }
});

test('what is in an array is said in words', function (): void {
    $strings = ['type' => 'array', 'items' => ['type' => 'string']];
    $units = ['type' => 'string', 'enum' => ['celsius', 'fahrenheit']];
    $types = [
        [fn (#[ToolParam(type: 'list<string>')] array $a) => 0, $strings],
        [fn (#[ToolParam(type: 'string[]')] array $a) => 0, $strings],
        [fn (#[ToolParam(type: 'array<string>')] array $a) => 0, $strings],
        [fn (#[ToolParam(type: 'array<int, string>')] array $a) => 0, $strings],
        [fn (#[ToolParam(type: 'list')] array $a) => 0, ['type' => 'array', 'items' => []]],
        [fn (#[ToolParam(type: '?string[]')] ?array $a) => 0, ['anyOf' => [$strings, ['type' => 'null']]]],
        [fn (#[ToolParam(type: 'Unit[]')] array $a) => 0, ['type' => 'array', 'items' => $units]],
        [fn (#[ToolParam(type: '\Tools\Unit')] $a) => 0, $units],
        [fn (#[ToolParam(type: '(int|null)[]')] array $a) => 0, [
            'type' => 'array', 'items' => ['anyOf' => [['type' => 'integer'], ['type' => 'null']]],
        ]],
        [fn (#[ToolParam(type: 'array<string, int>')] array $a) => 0, [
            'type' => 'object', 'additionalProperties' => ['type' => 'integer'],
        ]],
        [fn (#[ToolParam(type: "'up'|'down'")] string $a) => 0, ['type' => 'string', 'enum' => ['up', 'down']]],
        [fn (#[ToolParam(type: '1|2')] int $a = 1) => 0, ['enum' => [1, 2], 'default' => 1]],
        [fn (#[ToolParam(type: 'array{a: string, b?: list<int>}')] array $a) => 0, [
            'type' => 'object',
            'properties' => ['a' => ['type' => 'string'], 'b' => ['type' => 'array', 'items' => ['type' => 'integer']]],
            'required' => ['a'],
            'additionalProperties' => false,
        ]],
    ];
    foreach ($types as $number => [$function, $schema]) {
        same($schema, parameter($function), "schema $number");
    }
    /** @param list<string> $names */
    $tagged = fn (array $names) => 0;
    same(['names' => $strings], schema($tagged)['properties']);
});

test('inputs are converted', function (): void {
    $convert = fn (string $s, int $i, float $f, Unit $u, Order $o, ?Place $p, mixed $m, array $a) => 0;
    $made = given($convert, '{"s":"x","i":3.0,"f":2,"u":"celsius","o":"Down","p":{"x":1},"m":{"a":[{}]},"a":{"b":{"c":1}}}');
    same(['x', 3, 2.0, Unit::Celsius, Order::Down], [$made['s'], $made['i'], $made['f'], $made['u'], $made['o']]);
    same([1.0, 0.5, ['a' => [[]]], ['b' => ['c' => 1]]], [$made['p']->x, $made['p']->y, $made['m'], $made['a']]);
    same(['n' => '1'], given(fn (string|int $n) => 0, '{"n":"1"}'));
    same(['n' => 1], given(fn (string|int|float $n) => 0, '{"n":1}'));
    same(['n' => 1.5], given(fn (int|float $n) => 0, '{"n":1.5}'));
    same(['n' => 1.0e25], given(fn (float $n) => 0, '{"n":10000000000000000000000000}'));
    same(['o' => '{}'], array_map('json_encode', given(fn (object $o) => 0, '{"o":{}}')));
});

test('inputs that do not match are named', function (): void {
    $long = str_repeat('é', 40);
    $wrong = [
        [fn (int $a) => 0, '{"a":"x"}', 'a must be an integer, not "x"'],
        [fn (int $a) => 0, '{"a":1.5}', 'a must be an integer, not 1.5'],
        [fn (int $a) => 0, '{"a":10000000000000000000}', 'a must be an integer, not 1.0e+19'],
        [fn (int $a) => 0, '{}', 'a is missing'],
        [fn (int $a, int $b) => 0, '{"a":true,"c":1}', 'a must be an integer, not true; c is unknown; b is missing'],
        [fn () => 0, '[]', 'the input must be an object, not []'],
        [fn (Unit $a) => 0, '{"a":"kelvin"}', 'a must be one of "celsius", "fahrenheit", not "kelvin"'],
        [fn (?bool $a) => 0, '{"a":0}', 'a must be true or false or null, not 0'],
        [fn (?Place $a) => 0, '{"a":{"y":1}}', 'a.x is missing'],
        [fn (Place $a) => 0, '{"a":{"x":200}}', 'a is invalid: x is beyond the map'],
        [fn (#[ToolParam(type: 'list<int>')] array $a) => 0, '{"a":[1,"x"]}', 'a[1] must be an integer, not "x"'],
        [fn (#[ToolParam(type: 'array<string, int>')] array $a) => 0, '{"a":{"b":null}}', 'a.b must be an integer, not null'],
        [fn (#[ToolParam(type: 'array{x: int}')] array $a) => 0, '{"a":{}}', 'a.x is missing'],
        [fn (array $a) => 0, '{"a":1}', 'a must be a list or an object, not 1'],
        [fn (string $a) => 0, "{\"a\":[\"$long\"]}", 'a must be a string, not ["' . substr($long, 0, 58) . '...'],
    ];
    foreach ($wrong as [$function, $json, $message]) {
        same($message, given($function, $json));
    }
});

test('functions that cannot be tools are refused, and the message says what to do', function (): void {
    $byReference = function (int &$a): void {
    };
    $wrong = [
        [fn (\DateTime $when) => 0, 'the tool tool: the parameter $when: DateTime is not supported: use string, int, '],
        [fn (Loop $a) => 0, 'the tool tool: the parameter $a: the parameter $next: Tools\Loop contains itself'],
        [$byReference, 'the tool tool: the parameter $a: a tool takes nothing by reference'],
        [fn (#[ToolParam(type: 'list<')] $a) => 0, 'the tool tool: the parameter $a: the type `list<` cannot be read: '],
        [fn (#[ToolParam(type: 'Nothing')] array $a) => 0, 'the tool tool: the parameter $a: Nothing is not supported: '],
        [fn (\Countable&\Traversable $a) => 0, 'the tool tool: the parameter $a: Countable&Traversable is not supported: '],
    ];
    foreach ($wrong as [$function, $message]) {
        $found = thrown(\InvalidArgumentException::class, fn () => new ToolFunction($function, 'tool'))->getMessage();
        same($message, substr($found, 0, strlen($message)));
    }
});

test('tools are given in many ways', function (): void {
    $named = #[Tool(name: 'by_attribute', description: 'A closure.')] fn (): int => 1;
    $tools = ToolFunction::all([
        weather(...),
        'by_key' => fn (): int => 1,
        $named,
        new Clock(),
        new ToolFunction('strtoupper', description: 'Raises.'),
        'Tools\thrower' => fn () => 1,
        [new Clock(), 'other'],
    ]);
    same(['weather', 'by_key', 'by_attribute', 'now', 'time_zone', 'strtoupper', 'Tools\thrower', 'other'], array_keys($tools));
    same(['A closure.', 'Returns the time.', 'Returns the zone.'], [
        $tools['by_attribute']->description,
        $tools['now']->description,
        $tools['time_zone']->description,
    ]);
    foreach (
        [
            [[fn () => 1], 'tools: a closure needs a name: '],
            [['a' => fn () => 1, new ToolFunction(fn () => 1, 'a')], 'tools: two have the name a'],
            [['no_such_function'], 'tools: "no_such_function" is no tool: give functions, or objects whose methods have'],
            [[new \stdClass()], 'tools: stdClass is no tool: '],
            [[7], 'tools: int is no tool: '],
        ] as [$given, $message]
    ) {
        $found = thrown(\InvalidArgumentException::class, fn () => ToolFunction::all($given))->getMessage();
        same($message, substr($found, 0, strlen($message)));
    }
});

test('a function may take the call, and members that it does not name', function (): void {
    $tool = new ToolFunction(fn (string $a, ?ToolCall $call, int ...$more) => 0, 'tool', inputSchema: ['type' => 'object']);
    same(['type' => 'object'], $tool->inputSchema);
    same(['type' => 'object', 'properties' => ['a' => ['type' => 'string']], 'required' => ['a'], 'additionalProperties' => [
        'type' => 'integer',
    ]], schema(fn (string $a, ?ToolCall $call, int ...$more) => 0));
    same(true, schema(fn (mixed ...$input) => 0)['additionalProperties']);
});

test('results become content', function (): void {
    $png = new Image("\x89PNG");
    $block = ['type' => 'image', 'source' => ['type' => 'base64', 'media_type' => 'image/png', 'data' => 'iVBORw==']];
    $results = [
        [null, ''],
        ['text', 'text'],
        [1, '1'],
        [1.0, '1.0'],
        [true, 'true'],
        [[], '[]'],
        [new \stdClass(), '{}'],
        [['a' => 'é/'], '{"a":"é/"}'],
        [[1, ['b' => null]], '[1,{"b":null}]'],
        [Unit::Celsius, '"celsius"'],
        [new Place(1), '{"x":1.0,"y":0.5}'],
        [new \ArrayObject(['a' => 1]), null],
        [$png, [$block]],
        [$block, [$block]],
        [['title', $png, 7], [['type' => 'text', 'text' => 'title'], $block, ['type' => 'text', 'text' => '7']]],
        [['type' => 'text'], '{"type":"text"}'],
        [new Document('words', title: 'T'), [[
            'type' => 'document', 'source' => ['type' => 'text', 'media_type' => 'text/plain', 'data' => 'words'], 'title' => 'T',
        ]]],
        [new Document('%PDF'), [['type' => 'document', 'source' => [
            'type' => 'base64', 'media_type' => 'application/pdf', 'data' => 'JVBERg==',
        ]]]],
        [new Image(url: 'https://x/y'), [['type' => 'image', 'source' => ['type' => 'url', 'url' => 'https://x/y']]]],
        [new Image(fileID: 'file_1'), [['type' => 'image', 'source' => ['type' => 'file', 'file_id' => 'file_1']]]],
    ];
    foreach ($results as $number => [$value, $content]) {
        if ($content === null) {
            thrown(\InvalidArgumentException::class, fn () => Content::encoded($value));
            continue;
        }
        same(['content' => $content, 'is_error' => false], json_decode(Content::encoded($value), true), "content $number");
    }
});

test('what no result can hold is refused', function (): void {
    $wrong = [
        ["\xFF", 'a tool cannot return bytes that are not UTF-8: Antenv\Image and Antenv\Document take them'],
        [fn () => 1, 'a tool cannot return Closure'],
        [[STDERR], 'a tool cannot return resource (stream)'],
        [(fn () => yield 1)(), 'a tool cannot return Generator'],
        [INF, 'a tool cannot return inf and NaN cannot be JSON encoded'],
    ];
    foreach ($wrong as [$value, $message]) {
        same($message, thrown(\InvalidArgumentException::class, fn () => Content::encoded($value))->getMessage());
    }
    foreach (
        [
            [fn () => new Image(), 'give one of data, path, url and fileID'],
            [fn () => new Image("\x89PNG", url: 'x'), 'give one of data, path, url and fileID'],
            [fn () => new Image('BM'), 'the image is no PNG, JPEG, GIF or WebP'],
            [fn () => new Image(path: '/no/such/file'), 'path: the file cannot be read: '],
            [fn () => new Document("\xFF"), 'the document is neither PDF nor text in UTF-8'],
        ] as [$make, $message]
    ) {
        same($message, substr(thrown(\InvalidArgumentException::class, $make)->getMessage(), 0, strlen($message)));
    }
    same('image/webp', (new Image('RIFF____WEBP'))->block['source']['media_type']);
});

\Tests::end();
