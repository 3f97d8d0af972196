<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Tools\Docblock;
use Antenv\Tools\Member;
use Antenv\Tools\Mismatch;
use Antenv\Tools\Shape;
use Antenv\Tools\Types;

/**
 * A tool of an agent: a function with the name, description and schema that the agent knows it by.
 *
 * The schema of the input follows from the parameters' types: string, int, float, bool, array, enums, classes with a
 * constructor, nullable types and unions. Parameters without a default are required. `@param` tags and `ToolParam`
 * describe the parameters, and say what is in an array. A parameter of the type `Antenv\ToolCall` gets the call
 * itself. The input is checked and converted before the function is called: one that does not match fails the call,
 * with a message for the agent.
 *
 * The function returns null, a text; numbers, arrays and objects, which become JSON; `Antenv\Image`, `Antenv\Document`,
 * blocks of the API as arrays, or a list of blocks and texts. `Antenv\ToolError` and any other exception fail the call.
 */
final class ToolFunction
{
    /** The name that the agent calls it by. */
    public readonly string $name;
    /** What the agent is told about it. */
    public readonly string $description;
    /** @var array<string, mixed> The JSON schema of its input. */
    public readonly array $inputSchema;

    private readonly \Closure $function;
    private readonly Shape $input;
    private ?string $callParameter = null;

    /**
     * Makes a tool of a function. The arguments come before what its attribute `Antenv\Tool` says.
     *
     * @param callable $function The function.
     * @param string|null $name The tool's name. Without it: the function's.
     * @param string|null $description What the agent is told about it. Without it: the doc comment up to its first tag.
     * @param array<string, mixed>|null $inputSchema The JSON schema that the agent is told, for functions that take
     *     `mixed ...$input`. Without it: that of the parameters, by which the input is checked in either case.
     *
     * @throws \InvalidArgumentException The function has no name, or the type of a parameter is not supported.
     */
    public function __construct(callable $function, ?string $name = null, ?string $description = null, ?array $inputSchema = null)
    {
        $this->function = $function(...);
        $reflection = new \ReflectionFunction($this->function);
        $attribute = ($reflection->getAttributes(Tool::class)[0] ?? null)?->newInstance() ?? new Tool();
        $this->name = $name ?? $attribute->name ?? self::nameOf($reflection);
        $docblock = new Docblock($reflection->getDocComment());
        $this->description = $description ?? $attribute->description ?? $docblock->text;
        $this->input = $this->describe($reflection, $docblock);
        $this->inputSchema = $inputSchema ?? $attribute->inputSchema ?? $this->input->schema;
    }

    /**
     * Returns the tool as an agent's definition takes it, in its `tools`.
     *
     * @return array{type: 'custom', name: string, description: string, input_schema: array<string, mixed>}
     */
    public function definition(): array
    {
        return [
            'type' => 'custom',
            'name' => $this->name,
            'description' => $this->description,
            'input_schema' => $this->inputSchema,
        ];
    }

    /**
     * Calls the function with the input of a call, checked and converted.
     *
     * @internal
     *
     * @throws ToolError The input is wrong.
     */
    public function run(ToolCall $call): mixed
    {
        try {
            $arguments = $this->input->convert($call->rawInput(), '');
        } catch (Mismatch $mismatch) {
            throw new ToolError("invalid input: {$mismatch->getMessage()}", previous: $mismatch);
        }
        if ($this->callParameter !== null) {
            $arguments[$this->callParameter] = $call;
        }
        return ($this->function)(...$arguments);
    }

    /**
     * Makes tools of what a program gives as such; returns them by name.
     *
     * @internal
     *
     * @param iterable<mixed> $tools
     *
     * @return array<string, self>
     *
     * @throws \InvalidArgumentException One of them is none, or two have the same name.
     */
    public static function all(iterable $tools): array
    {
        $found = [];
        foreach ($tools as $key => $given) {
            foreach (self::of($given, \is_string($key) ? $key : null) as $tool) {
                if (isset($found[$tool->name])) {
                    throw new \InvalidArgumentException("tools: two have the name $tool->name");
                }
                $found[$tool->name] = $tool;
            }
        }
        return $found;
    }

    /** @return list<self> */
    private static function of(mixed $given, ?string $name): array
    {
        if ($given instanceof self) {
            return [$given];
        }
        if ($given instanceof \Closure || (\is_callable($given) && !\is_object($given))) {
            return [new self($given, $name)];
        }
        $tools = [];
        if (\is_object($given)) {
            foreach ((new \ReflectionObject($given))->getMethods(\ReflectionMethod::IS_PUBLIC) as $method) {
                if ($method->getAttributes(Tool::class) !== []) {
                    $tools[] = new self($method->getClosure($method->isStatic() ? null : $given));
                }
            }
        }
        if ($tools === []) {
            $what = \is_string($given) ? "\"$given\"" : get_debug_type($given);
            throw new \InvalidArgumentException(
                "tools: $what is no tool: give functions, or objects whose methods have the attribute Antenv\\Tool",
            );
        }
        return $tools;
    }

    private static function nameOf(\ReflectionFunction $function): string
    {
        $name = $function->getShortName();
        if (preg_match('/\A[A-Za-z]\w*\z/', $name) !== 1) {
            throw new \InvalidArgumentException(
                "tools: a closure needs a name: ['name' => fn ...], or #[Antenv\\Tool(name: ...)]",
            );
        }
        return $name;
    }

    private function describe(\ReflectionFunction $function, Docblock $docblock): Shape
    {
        // A method's types in words are those of its class.
        $namespace = $function->getClosureScopeClass()?->getNamespaceName() ?? $function->getNamespaceName();
        $members = [];
        $more = null;
        foreach ($function->getParameters() as $parameter) {
            $type = $parameter->getType();
            $types = $type instanceof \ReflectionUnionType ? $type->getTypes() : [$type];
            if (\in_array(ToolCall::class, array_map(static fn ($one): string => ltrim((string) $one, '?'), $types), true)) {
                $this->callParameter = $parameter->getName();
                continue;
            }
            try {
                $member = Types::member($parameter, $docblock, $namespace);
            } catch (\InvalidArgumentException $error) {
                throw new \InvalidArgumentException("the tool $this->name: {$error->getMessage()}", 0, $error);
            }
            if ($parameter->isVariadic()) {
                $more = $member->shape;
            } else {
                $members[$parameter->getName()] = $member;
            }
        }
        return Shape::members($members, static fn (array $made): array => $made, $more);
    }
}
