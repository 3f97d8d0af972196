// A JSON library's values as parameters, and results read by it: json URL
#include "check.hpp"
#include <antenv.hpp>
#include <nlohmann/json.hpp>

using nlohmann::json;

int main(int, char **argv) {
    antenv::client client(json{{"api_key", "k"}, {"base_url", argv[1]}});
    nlohmann::ordered_json params = {{"name", "a"}, {"metadata", {{"a", "b"}}}};
    params["description"] = std::string("a\0b", 3); // JSON spells it \u0000, so that nothing is cut short
    json made = json::parse(client.environments().create(params));
    CHECK(made["metadata"] == json(params["metadata"]) && made["description"] == json(params["description"]));
    const std::string id = made.at("id");
    client.environments().update(id, json{{"name", "renamed"}});
    CHECK(json::parse(client.environments().retrieve(id)).at("name") == "renamed");
    antenv::queue queue;
    queue.submit(client, "environments.retrieve", json{{"environment_id", id}}, 1);
    CHECK(json::parse(*queue.next()->result)["id"] == id);
    try {
        client.environments().retrieve("env_missing");
    } catch (const antenv::error &error) {
        CHECK(json::parse(error.body())["error"]["type"] == "not_found_error");
        std::puts("json: as it should be");
    }
}
